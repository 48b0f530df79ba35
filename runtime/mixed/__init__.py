"""Countable unknowns beside real ones: a question over the real ones for every state of the others."""
