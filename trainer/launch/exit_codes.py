"""What the command's exit codes mean."""

DONE, FAILED, WRONG_USAGE, PREEMPTED = 0, 1, 2, 42
