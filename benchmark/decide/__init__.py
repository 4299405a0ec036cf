"""From a comparison to a decision: which method for these photographs, fitted, with a threshold and a picture."""
