"""Random models, asked every question that they have, with every claim of the answers held against rivals.

`python -m tests.campaign --models 500 --seed 0` runs it; see `docs/methods.md`.
"""
