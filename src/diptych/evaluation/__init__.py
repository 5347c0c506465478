"""Is it any good? Scores on held-out pictures."""
