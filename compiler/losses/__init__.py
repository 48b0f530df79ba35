"""Losses that a `train` line names with `by`: what they are, written in the language itself."""
