"""Curvature, ranges and signs of typed expressions, by proof.

`Calculus` answers for one block of unknowns: is every entry of a value convex or concave, under
which conditions on given values, and why not. `Ranges` bounds values; `obligation` holds the
conditions; `scalars` and `algebra` settle functions of one number, with sympy.
"""
