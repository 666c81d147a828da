"""Sources of examples that can be bound as `Input.source`: digits, npz, idx and tfrecord."""
