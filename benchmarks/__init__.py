"""Side-by-side measurements. Each is one command, run from the project's folder: `python -m benchmarks.NAME`."""
