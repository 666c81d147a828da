"""Sources of files that are read by row number: npy, text, images and TFRecord files."""
