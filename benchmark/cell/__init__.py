"""One cell: split, training, execution, provenance."""
