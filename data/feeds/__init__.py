"""Feeds: the global batches of a source, in the order of training or of an evaluation."""
