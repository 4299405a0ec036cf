"""How files of a download are found and read."""
