"""Streams that are cut into shards, of which each worker reads its own."""
