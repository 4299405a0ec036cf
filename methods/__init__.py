"""One open-set anomaly detection method a file; heads and losses they share; nothing of data sets."""
