"""A change of ranks by worlds that join and part: Connect, Accept, and rows that move ahead."""
