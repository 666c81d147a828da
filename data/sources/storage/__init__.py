"""What the sources that are read by row number share: memory-mapped arrays, rows, files and their cache."""
