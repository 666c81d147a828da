"""Sources of files that are read by row number: npy, text, labelled text, images and TFRecord files."""
