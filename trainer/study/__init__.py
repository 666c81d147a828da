"""`--study`: many runs of one config, with values chosen from ranges or from a grid. Nothing here imports TensorFlow."""
