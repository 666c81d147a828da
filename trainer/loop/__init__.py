"""The host's loop: when to train, evaluate, summarize and save."""
