"""What a run shows to whoever watches it. Nothing here imports TensorFlow; rich is imported on a terminal only."""
