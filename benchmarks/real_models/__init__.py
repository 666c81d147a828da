"""The step time of models that people train, beside that of other frameworks: one module per model."""
