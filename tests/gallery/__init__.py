"""The systems of the gallery against independent references, and the figures that come out."""
