"""Taking the trained model away."""
