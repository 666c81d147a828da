"""Sources that are plans over other sources: Mixture and packed."""
