"""The exit codes of the command, importable without anything else.

`PREEMPTED` is 42, which no shell, signal or Python error produces: a scheduler can rerun the command on it alone.
"""

DONE, FAILED, WRONG_USAGE, PREEMPTED = 0, 1, 2, 42
