"""What the Trainer does with a Keras model and its optimizer: build, freeze, average, and make exact."""
