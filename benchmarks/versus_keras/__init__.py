"""The parts of `python -m benchmarks.versus_keras`: the cases, one module per topic, and how each side runs them."""
