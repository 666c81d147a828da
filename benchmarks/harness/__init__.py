"""What the benchmarks share: commands and their pages, paired timing, child processes, and one training problem."""
