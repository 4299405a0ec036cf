"""What a person is told of a data set: list, verification, preview, thumbnails."""
