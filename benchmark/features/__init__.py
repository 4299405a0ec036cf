"""Images to feature pyramids, computed once and cached."""
