"""Sources that read what other libraries keep: Hugging Face datasets, TFDS, ArrayRecord and Grain."""
