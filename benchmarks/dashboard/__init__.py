"""TensorBoard in a headless browser: the pictures in the README, and what the tests read pages with."""
