"""The cases of `python -m benchmarks.versus_keras`, one module a topic."""
