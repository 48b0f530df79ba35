"""Matrices that may be singular: null directions, and systems that have many solutions or none.

Everything is asked of the balanced matrix H = S A S with ones on its diagonal, so that the answers do not
depend on the units of coordinates. An eigenvalue of H counts as zero up to `tolerance` = eps (width + 8)
norm: eps of the type the entries of A came in, width the most entries of a row (N for a dense matrix), norm
the largest absolute row sum of H. That much can rounding do to x'Hx for a unit vector x. N itself enters
only through the width: a long chain with an honest eigenvalue of 1 / N^2 is not mistaken for a singular
one.
"""

from __future__ import annotations

from dataclasses import dataclass

import scipy
import torch
from torch import Tensor

from ebmlang.runtime.linear.conjugate import conjugate_gradient
from ebmlang.runtime.linear.dense import DenseMatrix
from ebmlang.runtime.linear.matrix import Factorization, Matrix, columns

EIGEN = 1000
"""Up to this size (dense matrices: three times it) by all eigenvectors; beyond, by inverse iteration."""
LIMIT = 8
"""The most null directions that inverse iteration looks for."""


@dataclass(frozen=True, slots=True, eq=False)
class Balanced:
    """H = S A S in float64, the diagonal of S [R, N], and what counts as zero in H [R]."""

    matrix: Matrix
    scale: Tensor
    zero: Tensor


def balanced(matrix: Matrix) -> Balanced:
    """The matrix in units in which its diagonal is one.

    Entries below eps times the largest are taken for that much, so that a diagonal of mere rounding errors
    still counts as zero.
    """
    eps = torch.finfo(matrix.dtype).eps
    wide = matrix.double()
    main = wide.diagonal()
    top = main.amax(1, keepdim=True) if main.shape[1] else main
    floored = torch.maximum(main, eps * top)
    scale = torch.where(floored > 0, floored.rsqrt(), 1.0)
    unit = wide.scaled(scale)
    norm = unit.norm()
    return Balanced(unit, scale, eps * (matrix.width + 8) * torch.where(norm > 0, norm, 1.0))


def null_directions(matrix: Matrix, row: int = 0, limit: int = LIMIT) -> Tensor:
    """An orthonormal basis [K, N], K <= limit, of directions along which x'Ax does not change; float64.

    Coordinates that nothing determines come first, as unit vectors. The others, of a positive semidefinite
    row only, by all eigenvectors where N is small, else by inverse iteration on a few vectors more than
    asked for. Fewer than `limit` are all there are.
    """
    one = one_row(matrix, row)
    main = one.diagonal()[0].double()
    loose = main == 0
    single = unit_vectors(torch.nonzero(loose)[:limit, 0], one.size)
    if len(single):
        if bool(one.double().times(single).any()):
            return single[:0]  # an entry beside a zero on the diagonal: indefinite
        if len(single) == limit:
            return single
        one = one.shifted(torch.where(loose, torch.where(main.max() > 0, main.max(), 1.0), 0.0)[None])
    unit = balanced(one)
    found = _null_space(unit, limit - len(single)) * unit.scale
    return torch.cat([single, signed(orthonormal(found))]) if len(found) else single


def plain_directions(basis: Tensor) -> Tensor:
    """The space of a basis [K, N] by directions that are easy to read: [K, N], the largest entry of each 1.

    Each is 1 at a coordinate where the others are 0 (the reduced echelon form with pivots by QR), up to
    scale. So if the space is the sum of spaces of separate groups of coordinates, each direction moves one
    group alone. Entries of rounding size are 0. No longer orthogonal.
    """
    if len(basis) == 0:
        return basis
    pivots = scipy.linalg.qr(basis.detach().cpu().numpy(), mode="r", pivoting=True)[1][: len(basis)]
    chosen = basis[:, torch.from_numpy(pivots.astype("int64")).to(basis.device)]
    echelon = torch.linalg.solve(chosen, basis)
    echelon = torch.where(echelon.abs() > 1e-9 * echelon.abs().amax(1, keepdim=True), echelon, 0.0)
    largest = echelon.gather(1, echelon.abs().argmax(1, keepdim=True))
    result: Tensor = echelon / largest
    return result


def unit_vectors(places: Tensor, size: int) -> Tensor:
    """Float64 unit vectors [K, N] of the coordinates `places` [K]."""
    result = torch.zeros(len(places), size, dtype=torch.float64, device=places.device)
    result[torch.arange(len(places), device=places.device), places] = 1.0
    return result


def _null_space(unit: Balanced, limit: int) -> Tensor:
    """An orthonormal basis [K, N] of the null space of one balanced matrix."""
    matrix, zero = unit.matrix, unit.zero[0]
    empty = torch.zeros(0, matrix.size, dtype=torch.float64, device=matrix.device)
    if matrix.size == 0 or not bool(torch.isfinite(zero)):
        return empty
    if by_eigenvectors(matrix):
        values, vectors = torch.linalg.eigh(matrix.dense()[0])
        basis: Tensor = vectors.mT[values <= zero][:limit]
        return empty if bool(values[0] < -zero) else basis
    _, factors, rounds = _nearly(unit)
    if not bool(factors.positive[0]):
        return empty
    vectors = random_vectors(min(limit + 2, matrix.size), matrix)
    for _ in range(rounds):
        vectors = orthonormal(factors.solve(vectors))
    values, turn = torch.linalg.eigh(vectors @ matrix.times(vectors).mT)
    # values are accurate to rounding, whatever is left of other eigenvectors in the vectors only raises them
    lowest: Tensor = (turn.mT @ vectors)[values <= zero][:limit]
    return lowest


def _nearly(unit: Balanced) -> tuple[Tensor, Factorization, int]:
    """A small shift, the factors with it, and the rounds of inverse iteration that it calls for."""
    shift = 16 * unit.zero
    factors = unit.matrix.shifted(shift).factor()
    if factors.exact:
        return shift, factors, 4
    # Conjugate gradients need a better conditioned matrix; more rounds make up for it.
    shift = torch.maximum(shift, 1e-5 * unit.matrix.norm())
    return shift, unit.matrix.shifted(shift).factor(), 12


@dataclass(frozen=True, slots=True, eq=False)
class Consistent:
    """What is known of A x = b, with R' rows of b and R (or 1) of A.

    `x` [R', N] solves it where `in_range` [R']: the shortest solution (for more than `LIMIT` null directions
    and large N, one of the solutions). Where b is not in the range of a semidefinite A, x'Ax / 2 - b'x falls
    without end along the unit vector `fall` [R', N] (zero elsewhere). `semidefinite` [R] is False for rows
    with a negative eigenvalue: no b counts as in their range. x is nan where b is not in the range. `regular`
    [R]: the solution is the only one.
    """

    x: Tensor
    in_range: Tensor
    fall: Tensor
    semidefinite: Tensor
    regular: Tensor


def solve_consistent(matrix: Matrix, b: Tensor, relative: float | None = None) -> Consistent:
    """Solves A x = b [R', N] or [R, K, N] for semidefinite A, singular ones included.

    b counts as in the range when the part of S b in the null space of H is at most `relative` |S b|; the root
    of eps of the type of b by default, for b is a difference of larger numbers as a rule.
    """
    allowed = torch.finfo(b.dtype).eps ** 0.5 if relative is None else relative
    unit = balanced(matrix)
    scale = unit.scale[:, None]
    right = columns(b, matrix.rows).double() * scale
    y, lost, semidefinite, regular = (_by_spectrum if by_eigenvectors(matrix) else _by_factors)(unit, right)
    missing = _norm(lost)
    reached = (missing <= allowed * _norm(right)) & semidefinite[:, None]
    falling = (~reached & semidefinite[:, None])[..., None]
    fall = torch.where(falling, lost * scale, 0.0)
    fall = torch.where(falling, fall / _norm(fall)[..., None], 0.0)
    x = _shortest(matrix, torch.where(reached[..., None], y * scale, torch.nan), regular | ~semidefinite)
    x, fall = (part.reshape(b.shape).to(b.dtype) for part in (x, fall))
    return Consistent(x, reached.reshape(b.shape[:-1]), fall, semidefinite, regular)


Found = tuple[Tensor, Tensor, Tensor, Tensor]
"""Solutions and what is left of the right-hand sides, both [R, K, N]; semidefinite and regular [R]."""


def _by_spectrum(unit: Balanced, right: Tensor) -> Found:
    dense, zero = unit.matrix.dense(), unit.zero[:, None]
    finite = torch.isfinite(dense).flatten(1).all(1)
    values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], dense, 0.0))
    semidefinite = finite & (values >= -zero).all(1)
    null = (values <= zero)[:, None]
    parts = right @ vectors
    y = torch.where(null, 0.0, parts / values[:, None]) @ vectors.mT
    lost = torch.where(null, parts, 0.0) @ vectors.mT
    return y, lost, semidefinite, semidefinite & ~null.any(2)[:, 0]


def _by_factors(unit: Balanced, right: Tensor) -> Found:
    matrix = unit.matrix
    factors = matrix.factor()
    regular = factors.positive & (least_eigenvalue(matrix, factors) > unit.zero)
    semidefinite = regular.clone()
    y = factors.solve(right)
    y = y + factors.solve(right - matrix.times(y))
    lost = right - matrix.times(y)
    for row in torch.nonzero(~regular)[:, 0].tolist():
        part = Balanced(one_row(matrix, row), unit.scale, unit.zero[row : row + 1])
        y[row : row + 1], lost[row : row + 1], semidefinite[row] = _singular(part, right[row : row + 1])
    return y, lost, semidefinite, regular


def _singular(unit: Balanced, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Solutions and the rest for b [1, K, N] of one singular matrix, and whether it is semidefinite.

    s (H + s)^-1 leaves null vectors as they are and makes an eigenvector of l smaller by s / (l + s): a few
    applications are the projector onto the null space, however many dimensions that has. What is left of b
    after subtraction is solved by y += (H + s)^-1 (b - H y), whose errors shrink by the same s / (l + s).
    With s near the rounding of H, what rounding leaves of b in the null space becomes a part of y no larger
    than b; conjugate gradients would be led astray by it.
    """
    matrix = unit.matrix
    shift, factors, rounds = _nearly(unit)
    if not bool(factors.positive[0]):
        return right, right, factors.positive[0]
    lost = right
    for _ in range(2 * rounds):
        lost = shift * factors.solve(lost)
    rest = right - lost
    if not factors.exact:
        return conjugate_gradient(matrix.times, rest, lambda r: r, 1e-12, 5000).x, lost, factors.positive[0]
    y = torch.zeros_like(right)
    for _ in range(2 * rounds):
        y = y + factors.solve(rest - matrix.times(y))
    return y, lost, factors.positive[0]


def least_eigenvalue(matrix: Matrix, factors: Factorization) -> Tensor:
    """An upper bound of the least eigenvalue [R], as a rule close: inverse iteration twice, then x'Hx."""
    x = random_vectors(1, matrix).expand(matrix.rows, -1)
    for _ in range(2):
        x = factors.solve(x)
        x = x / _norm(x)[:, None]
    return (x * matrix.times(x)).sum(1)


def _shortest(matrix: Matrix, x: Tensor, regular: Tensor) -> Tensor:
    """x [R, K, N] without its part in the null space of its matrix."""
    for row in torch.nonzero(~regular)[:, 0].tolist():
        basis = null_directions(matrix, row, matrix.size if by_eigenvectors(matrix) else LIMIT)
        x[row] -= (x[row] @ basis.mT) @ basis
    return x


def by_eigenvectors(matrix: Matrix) -> bool:
    """Whether the matrix is small enough for all its eigenvectors."""
    return matrix.size <= (3 * EIGEN if isinstance(matrix, DenseMatrix) else EIGEN)


def one_row(matrix: Matrix, row: int) -> Matrix:
    """The matrix of one row."""
    return matrix.select(torch.tensor([row], device=matrix.device)) if matrix.rows > 1 else matrix


def random_vectors(count: int, matrix: Matrix) -> Tensor:
    """The same random vectors [count, N] in every run."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, matrix.size, dtype=torch.float64, generator=generator).to(matrix.device)


def orthonormal(vectors: Tensor) -> Tensor:
    """An orthonormal basis of what independent vectors [K, N] span."""
    result: Tensor = torch.linalg.qr(vectors.mT).Q.mT
    return result


def signed(vectors: Tensor) -> Tensor:
    """Each vector turned so that its largest entry is positive."""
    if vectors.shape[0] == 0:
        return vectors
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return torch.where(largest < 0, -vectors, vectors)


def _norm(vectors: Tensor) -> Tensor:
    result: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return result
