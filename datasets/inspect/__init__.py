"""Views of a data set for people: list, verification, preview, thumbnails."""
