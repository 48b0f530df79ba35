"""The small data sets that ship inside scikit-learn, which comes with `ebmlang[data]`."""

from __future__ import annotations

import numpy as np

from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.data.dataset import DataSet, LazyArray, Loaded
from ebmlang.errors import DataError

NAMES = ("breast_cancer", "diabetes", "digits", "iris", "wine")
"""Those that need no download."""


def read_sklearn(name: str) -> DataSet:
    """`data` [rows, features] float64, `target` [rows], and `images` [rows, 8, 8] for the digits.

    Class targets are int64, measured ones float64. Raises DataError.
    """
    if name not in NAMES:
        hint = did_you_mean(name, NAMES) or f"the sets that ship with scikit-learn: {listing(NAMES)}"
        raise DataError(f"there is no data set sklearn:{name}", hint)
    try:
        from sklearn import datasets
    except ImportError as error:
        raise DataError(f"sklearn:{name} needs scikit-learn", "pip install 'ebmlang[data]'") from error
    load = {
        "breast_cancer": datasets.load_breast_cancer,
        "diabetes": datasets.load_diabetes,
        "digits": datasets.load_digits,
        "iris": datasets.load_iris,
        "wine": datasets.load_wine,
    }[name]
    bunch = load()
    arrays: dict[str, LazyArray] = {"data": Loaded(np.asarray(bunch.data, dtype=np.float64))}
    if name == "digits":
        arrays["images"] = Loaded(np.asarray(bunch.images, dtype=np.float64))
    target = np.asarray(bunch.target)
    arrays["target"] = Loaded(target.astype(np.int64 if target.dtype.kind in "iu" else np.float64))
    return DataSet(f"sklearn:{name}", arrays, "sklearn")
