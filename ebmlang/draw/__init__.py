"""Drawings of factor graphs."""
