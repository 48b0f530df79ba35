"""Measurements of ebmlang. `python -m benchmarks` prints them; nothing here runs in the tests."""
