"""Recording metrics from anywhere below a replica's step."""
