"""`tallyloop-report`: what run folders hold, side by side. Nothing here imports TensorFlow."""
