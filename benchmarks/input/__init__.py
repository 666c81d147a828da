"""The parts of `python -m benchmarks.input`: arrays, rows on disk, images, other libraries, a training, and memory."""
