"""`--mode=tune`: which settings make a config fast on this machine. Nothing here imports TensorFlow before it is needed."""
