"""Floor 3: the one loop, what it needs of the world, recovery and the read side."""
