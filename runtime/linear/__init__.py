"""Symmetric matrices in the patterns that energies have: assembly, factorisation, solution, certificates.

`patterns` says where entries may be and colors the coordinates into probes; `assembly` makes a matrix of the
products with them; one file per pattern holds its matrix and factorisation; `semidefinite` and `indefinite`
deal with matrices that are not positive definite. Coordinates are those of a row of `Space`. The eliminations
are LAPACK's and SuperLU's, those of torch for batches and accelerators.
"""

from __future__ import annotations

from ebmlang.runtime.linear.arrow import ArrowMatrix
from ebmlang.runtime.linear.assembly import assemble, measure
from ebmlang.runtime.linear.banded import BandedMatrix
from ebmlang.runtime.linear.blocks import BlockTridiagonalMatrix
from ebmlang.runtime.linear.dense import BlockDiagonalMatrix, DenseMatrix
from ebmlang.runtime.linear.diagonal import DiagonalMatrix
from ebmlang.runtime.linear.indefinite import Among, Modified, lowest_direction, modified, solve_among
from ebmlang.runtime.linear.iterative import ImplicitMatrix, implicit
from ebmlang.runtime.linear.low_rank import LowRankPlusDiagonal
from ebmlang.runtime.linear.matrix import Factorization, Matrix, masked
from ebmlang.runtime.linear.patterns import (
    ArrowPattern,
    BandedPattern,
    BlockDiagonalPattern,
    BlockTridiagonalPattern,
    DensePattern,
    DiagonalPattern,
    Pattern,
    SparsePattern,
    color_count,
    probes,
    sparse_pattern,
)
from ebmlang.runtime.linear.semidefinite import (
    Consistent,
    null_directions,
    plain_directions,
    solve_consistent,
)
from ebmlang.runtime.linear.simplify import simplest
from ebmlang.runtime.linear.sparse import SparseMatrix

__all__ = [
    "Among",
    "ArrowMatrix",
    "ArrowPattern",
    "BandedMatrix",
    "BandedPattern",
    "BlockDiagonalMatrix",
    "BlockDiagonalPattern",
    "BlockTridiagonalMatrix",
    "BlockTridiagonalPattern",
    "Consistent",
    "DenseMatrix",
    "DensePattern",
    "DiagonalMatrix",
    "DiagonalPattern",
    "Factorization",
    "ImplicitMatrix",
    "LowRankPlusDiagonal",
    "Matrix",
    "Modified",
    "Pattern",
    "SparseMatrix",
    "SparsePattern",
    "assemble",
    "color_count",
    "implicit",
    "lowest_direction",
    "masked",
    "measure",
    "modified",
    "null_directions",
    "plain_directions",
    "probes",
    "simplest",
    "solve_among",
    "solve_consistent",
    "sparse_pattern",
]
