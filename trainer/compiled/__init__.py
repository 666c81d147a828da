"""Compiled Keras models: trained as `fit` trains them on one device, and the same on any number of replicas."""
