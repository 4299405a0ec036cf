"""From a comparison to decisions: recommend a method, fit it, score photographs with a threshold and heat maps."""
