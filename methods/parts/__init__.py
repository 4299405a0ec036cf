"""What methods are made of: heads, losses, whitening, coreset."""
