"""Sources that are plans over other sources: Mixture, packed and bucketed."""
