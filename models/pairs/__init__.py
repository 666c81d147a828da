"""Models of pairs: what belongs together is close."""
