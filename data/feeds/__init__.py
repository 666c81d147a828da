"""Batches for the compiled loops: the order of the examples, and each replica's shard."""
