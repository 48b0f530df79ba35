"""Convexity, ranges and signs of expressions as functions of the sought block, proven and never sampled."""
