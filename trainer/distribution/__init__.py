"""Replicas and workers: strategies, who the workers are, what they tell each other, and signals."""
