"""Many workers: which of them this process is, how they meet, and the strategy that they share."""
