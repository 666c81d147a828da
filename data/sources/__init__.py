"""Sources of examples that can be bound as `Input.source`; those that are read by row number stand in rooms of their own."""
