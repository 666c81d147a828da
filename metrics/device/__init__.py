"""What happens to tallies on the device: packed into one vector, accumulated, reduced once."""
