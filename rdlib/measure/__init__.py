"""What networks cost and what happens inside them, measured; one record format."""
