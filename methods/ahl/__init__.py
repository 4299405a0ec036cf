"""AHL (CVPR 2024): episodes, their weighting, the inner loop, and the model."""
