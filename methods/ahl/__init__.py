"""AHL in four parts: episodes, the inner loop, their weights, and the model."""
