"""Checks that every energy must pass, and strategies that draw values from a model's declarations.

`ebmlang test FILE` runs them all. In a test suite of your own:

    from hypothesis import given

    import ebmlang
    from ebmlang import testing

    model = ebmlang.load("sparse_coding.ebm")

    @given(testing.values(model))
    def test_energy(values):
        testing.check_finite(model, values)
        testing.check_gradient(model, values)

`values` is a mapping of arrays, so a test may go on with it: `model.energy(**values)` once sizes and
hyperparameters are set (`values.hypers` holds those that were drawn). Checks also take a dictionary of plain
lists, which is how counter-examples are printed.
"""

from ebmlang.testing.case import Case, CheckFailed
from ebmlang.testing.checks import check_batch_equals_loop, check_finite, check_properties, check_terms_sum
from ebmlang.testing.gradient import check_gradient
from ebmlang.testing.inference import check_inference
from ebmlang.testing.strategies import values

__all__ = [
    "Case",
    "CheckFailed",
    "check_batch_equals_loop",
    "check_finite",
    "check_gradient",
    "check_inference",
    "check_properties",
    "check_terms_sum",
    "values",
]
