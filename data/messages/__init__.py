"""What errors of TensorFlow and of the user's code say: the reason in one line, and the line of the user's that failed."""
