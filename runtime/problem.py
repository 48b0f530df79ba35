"""A question with its numbers: the energy as a function of flat vectors, in the views solvers ask for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from ebmlang.runtime.blocks import Blocks
from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.generated import HessianPlaces
from ebmlang.runtime.hessian import HessianForm, hessian, hessian_times, normal_times, shared_hessian
from ebmlang.runtime.linear.matrix import Matrix
from ebmlang.runtime.linear.patterns import DensePattern, Pattern
from ebmlang.runtime.mixture import MixtureForm
from ebmlang.runtime.rollout import Rollout, Stages, measure
from ebmlang.runtime.space import Space, Unknown
from ebmlang.runtime.trajectories import Trajectories

Values = Mapping[str, Tensor]


class Functions(Protocol):
    """What generated code offers. `unknown[name]` is [B, *shape]; `held` is every other value by name.

    Results are [B], or [1] or [] when they are the same for all rows.
    """

    def energy(self, unknown: Values, held: Values) -> Tensor:
        """Total energy per row."""

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        """Every term by name, summed over its plates."""


class Derivatives(Protocol):
    """Derivatives that were written when compiling; `written` names the ones that there are.

    A derivative along a variable is shaped as the variable, or broadcasts to it.
    """

    @property
    def written(self) -> frozenset[str]:
        """Some of `energy_and_gradient`, `gradient`, `smooth_and_gradient`, `hessian_times`,
        `hessian_entries`, `hessian_places`, `normal_times`."""

    def energy_and_gradient(self, unknown: Values, held: Values) -> tuple[Tensor, dict[str, Tensor]]:
        """The energy with its gradient along every sought variable."""

    def gradient(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        """The gradient alone, not to be differentiated; for methods whose steps need no energy."""

    def smooth_and_gradient(self, unknown: Values, held: Values) -> tuple[Tensor, dict[str, Tensor]]:
        """The same for the energy without its absolute values."""

    def hessian_times(self, unknown: Values, held: Values, direction: Values) -> dict[str, Tensor]:
        """The product of the Hessian with a direction, which is shaped as the unknowns."""

    def hessian_entries(self, unknown: Values, held: Values) -> tuple[Tensor, ...]:
        """The values whose sum the Hessian is; each broadcasts to the rows and the shape of its places."""

    def hessian_places(self, held: Values, number: Values) -> HessianPlaces:
        """Where they stand, given the number of each coordinate, int64 [1, ...] by variable."""

    def normal_times(self, unknown: Values, held: Values, direction: Values) -> dict[str, Tensor]:
        """The same for the weighted squared Jacobian of the residuals of a sum of losses."""


class SmoothPlusAbsolute(Protocol):
    """An energy split as smooth(x) + sum_i w_i |x_i|, w >= 0."""

    def smooth(self, unknown: Values, held: Values) -> Tensor:
        """The energy without its absolute values, shaped as the energy."""

    def absolute(self, held: Values) -> dict[str, Tensor]:
        """The weights w of sought variables, broadcastable to [B, *shape]; a variable left out has none.

        They come from `held` alone, so that they follow the rows that are selected.
        """


class View(Enum):
    """What a solver may ask of a problem."""

    GRADIENT = "the energy and its gradient"
    HESSIAN = "products with the Hessian"
    GAUSS_NEWTON = "products with the squared Jacobian of the residuals"
    SMOOTH_PLUS_ABSOLUTE = "a smooth energy and the weights of absolute values"
    CLOSED_FORM = "a minimum in closed form"
    MIXTURE = "a convex quadratic minus log-sum-exps"
    BLOCKS = "groups of unknowns, each a problem of its own"
    ROLLOUT = "the steps and stage costs of a rollout"


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows of independent minimisations over the same space.

    Tensors of `held` named in `row_values` have a leading dimension B or 1; the others are shared. In a joint
    space the energies of all examples are summed, so functions that include a term of the whole batch must
    return it once: as a total of shape [] or [1]. Without a `form` nothing is known about the Hessian.
    `lengths` names variables whose weights are those of lengths of groups, not of absolute values, with how
    many leading dimensions number the groups. `majorant` is a quadratic whose Hessian is nowhere less than
    that of the smooth part of the split.
    """

    functions: Functions
    held: Values
    row_values: frozenset[str]
    space: Space
    split: SmoothPlusAbsolute | None = None
    derivatives: Derivatives | None = None
    rollout: Rollout | None = None
    form: HessianForm | None = None
    closed: Callable[[Values], Mapping[str, Tensor]] | None = None
    mixture: MixtureForm | None = None
    blocks: Blocks | None = None
    lengths: tuple[tuple[str, int], ...] = ()
    majorant: Callable[[Values, Values], Tensor] | None = None

    @property
    def pattern(self) -> Pattern:
        """Where the Hessian of a row may have entries."""
        return DensePattern(self.space.size) if self.form is None else self.form.pattern

    @property
    def views(self) -> frozenset[View]:
        views = {View.GRADIENT}
        if self.space.entrywise:
            views.add(View.HESSIAN)
            if self.derivatives is not None and "normal_times" in self.derivatives.written:
                views.add(View.GAUSS_NEWTON)
        if self.split is not None:
            views.add(View.SMOOTH_PLUS_ABSOLUTE)
        if self.rollout is not None and self.space.mask is None:
            views.add(View.ROLLOUT)
        if self.closed is not None:
            views.add(View.CLOSED_FORM)
        if self.mixture is not None:
            views.add(View.MIXTURE)
        if self.blocks is not None:
            views.add(View.BLOCKS)
        return frozenset(views)

    def energy(self, x: Tensor) -> Tensor:
        """[R, N] -> [R]."""
        with torch.no_grad():
            return self._total(self.functions.energy, x)

    def energy_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[R, N] -> [R], [R, N]; the gradient is 0 at given entries."""
        derivatives = self.derivatives
        if self.rollout is not None and self.rollout.marched and self.space.device.type == "cpu":
            return self.trajectories().energy_and_gradient(x)
        if derivatives is not None and "energy_and_gradient" in derivatives.written:
            return self._written(derivatives.energy_and_gradient, x)
        return self._differentiate(self.functions.energy, x)

    def gradient(self, x: Tensor) -> Tensor:
        """The gradient [R, N] at x [R, N], a tensor of its own; 0 at given entries."""
        derivatives = self.derivatives
        if derivatives is None or "gradient" not in derivatives.written:
            return self.energy_and_gradient(x)[1]
        if self.space.bare is not None and not torch.is_grad_enabled():
            return self.slope()(x)
        if self.space.joint and x.shape[0] != 1:
            return torch.cat([self.gradient(row) for row in x.split(1)]) if len(x) else torch.zeros_like(x)
        with torch.no_grad():
            parts = self._parts(x)
            return self._joined(parts, derivatives.gradient(self.space.values_of(parts), self.held))

    def slope(self) -> Callable[[Tensor], Tensor]:
        """`gradient` for many points [R, N]: with few rows the way there takes as long as the arithmetic."""
        derivatives, held, bare = self.derivatives, self.held, self.space.bare
        written = derivatives is not None and "gradient" in derivatives.written
        if derivatives is None or not written or bare is None or torch.is_grad_enabled():
            return self.gradient
        name, alone = bare, derivatives.gradient

        def at(x: Tensor) -> Tensor:
            found = alone({name: x}, held)[name]
            return found if found.shape == x.shape else found.expand(x.shape)

        return at

    def hessian_times(self, x: Tensor, directions: Tensor) -> Tensor:
        """Products of the Hessian at x [R, N] with P directions per row, [R or 1, P, N] -> [R, P, N].

        Rows and columns of given entries are those of the identity. Raises ValueError where coordinates
        are no functions of single values (a manifold, say).
        """
        return hessian_times(self, x, directions)

    def hessian(self, x: Tensor) -> Matrix:
        """The Hessians at x [R, N] in their pattern: R matrices, or one where all rows share it.

        Rows and columns of given entries are those of the identity. Raises ValueError as `hessian_times`.
        """
        return hessian(self, x)

    def normal_times(self, x: Tensor, directions: Tensor) -> Tensor:
        """As `hessian_times`, for the Hessian without the curvature of the residuals of a sum of losses."""
        return normal_times(self, x, directions)

    @property
    def shares_hessian(self) -> bool:
        """Whether one matrix, the same at every x, serves all rows; given entries aside."""
        form = self.form
        if form is None or self.space.curved:
            return False
        return form.shared or (form.constant and self.space.joint)

    def shared_hessian(self, x: Tensor) -> Matrix:
        """The one matrix of all rows, as if no entry were given."""
        return shared_hessian(self, x)

    def smooth(self, x: Tensor) -> Tensor:
        """The smooth part, [R, N] -> [R]."""
        with torch.no_grad():
            return self._total(self._split().smooth, x)

    def smooth_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The smooth part and its gradient, [R, N] -> [R], [R, N]."""
        split, derivatives = self._split(), self.derivatives
        if derivatives is not None and "smooth_and_gradient" in derivatives.written:
            return self._written(derivatives.smooth_and_gradient, x)
        return self._differentiate(split.smooth, x)

    def absolute(self) -> Tensor:
        """Weights of absolute values, [R or 1, N], >= 0; 0 for entries without one."""
        space = self.space
        weights = self._split().absolute(self.held)
        parts = []
        for unknown in space.unknowns:
            shape = space.row_shape(unknown)
            weight = weights.get(unknown.name)
            if weight is None:
                weight = torch.zeros((), dtype=space.dtype, device=space.device)
            weight = weight.detach().to(space.device, space.dtype)
            extra = len(shape) + 1 - weight.ndim
            padded = weight.reshape(*[1] * extra, *weight.shape)
            parts.append(padded.expand(padded.shape[0], *shape))
        rows = max((part.shape[0] for part in parts), default=1)
        if not parts:
            return torch.zeros(1, 0, dtype=space.dtype, device=space.device)
        return space.join([part.expand(rows, *part.shape[1:]) for part in parts])

    def penalty(self, x: Tensor, weights: Tensor) -> Tensor:
        """What the split leaves out at x [R, N]: weighted absolute values and lengths, [R]."""
        if not self.lengths:
            return (weights * x.abs()).sum(1)
        grouped = zip(self._groups(x), self._groups(weights), strict=True)
        return torch.stack([(w[..., 0] * part.norm(dim=2)).sum(1) for part, w in grouped]).sum(0)

    def shrunk(self, x: Tensor, threshold: Tensor) -> Tensor:
        """x [R, N] with its entries, or the lengths of groups, less by `threshold` [R or 1, N], or 0."""
        if not self.lengths:
            return x - torch.clamp(x, min=-threshold, max=threshold)
        parts = []
        for part, limit in zip(self._groups(x), self._groups(threshold), strict=True):
            length = part.norm(dim=2, keepdim=True)
            kept = torch.where(length > limit[..., :1], 1 - limit[..., :1] / length, 0.0)
            parts.append((kept * part).flatten(1))
        return torch.cat(parts, 1)

    def _groups(self, x: Tensor) -> list[Tensor]:
        """Each unknown as [R, groups, entries of a group]; an entry without a group is one of its own."""
        leads, parts = dict(self.lengths), []
        for unknown, part in zip(self.space.unknowns, self.space.split(x), strict=True):
            lead = leads.get(unknown.name, unknown.rank) + int(self.space.joint)
            count = math.prod(part.shape[1 : 1 + lead])
            parts.append(part.reshape(x.shape[0], count, math.prod(part.shape[1 + lead :])))
        return parts

    def closed_form(self) -> Tensor:
        """The coordinates of the minimum, [R, N]."""
        if self.closed is None:
            raise ValueError("this problem has no closed form")
        space = self.space
        with torch.no_grad():
            found = self.closed(self.held)
            values = {u.name: found[u.name].expand(space.rows, *space.row_shape(u)) for u in space.unknowns}
            return space.pack(values)

    def stages(self) -> Stages:
        """The matrices of a rollout's steps and stage costs."""
        if self.rollout is None:
            raise RuntimeError("this problem has no rollout")
        rollout = self.rollout
        rows = torch.arange(self.space.rows, device=self.space.device)

        def probed(width: int) -> Values:
            if self.space.rows == 1:
                return self.held
            return self.select(rows[:1] if rollout.shared else rows.repeat_interleave(width)).held

        return measure(rollout, self.space, self.held, self.row_values, probed)

    def trajectories(self) -> Trajectories:
        """The rollouts of all rows."""
        return self._trajectories

    @cached_property
    def _trajectories(self) -> Trajectories:
        if self.rollout is None:
            raise RuntimeError("this problem has no rollout")

        def repeated(count: int) -> Values:
            if count == 1 or self.space.rows == 1:
                return self.held
            return {
                name: value.repeat(count, *[1] * (value.ndim - 1))
                if name in self.row_values and value.shape[0] != 1
                else value
                for name, value in self.held.items()
            }

        return Trajectories(self.rollout, self.space, self.held, repeated)

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Every term by name, as the functions return it. In a joint space x must be one row."""
        with torch.no_grad():
            return self.functions.terms(self.unknown(x), self.held)

    def faulty_terms(self, x: Tensor, gradient: bool) -> list[str | None]:
        """Per row, the first term that is not finite at x, or with `gradient` whose gradient is not."""
        if self.space.joint:
            return [self._fault(row[None], gradient) for row in x]
        chunks = self._fault_masks(x, gradient)
        found: list[str | None] = [None] * x.shape[0]
        for name, mask in reversed(chunks):
            for row in mask.nonzero()[:, 0].tolist():
                found[row] = name
        return found

    def lowest_terms(self, x: Tensor) -> list[str | None]:
        """Per row, the term of the lowest value at x."""
        if self.space.joint and x.shape[0] != 1:
            return [self.lowest_terms(row[None])[0] for row in x]
        terms = self.terms(x)
        if not terms:
            return [None] * x.shape[0]
        values = [v.sum().reshape(1) if self.space.joint else _per_row(v, x.shape[0]) for v in terms.values()]
        order = torch.stack(values).nan_to_num(nan=torch.inf).argmin(0).tolist()
        return [list(terms)[i] for i in order]

    def select(self, rows: Tensor) -> Problem:
        """The problem of the given rows (int64 [R']); rows may repeat."""
        space = self.space.select(rows)
        blocks = None if self.blocks is None else self.blocks.select(rows, self.space.joint)
        if self.space.joint:
            return replace(self, space=space, blocks=blocks)
        held = {
            name: value.index_select(0, rows) if name in self.row_values and value.shape[0] != 1 else value
            for name, value in self.held.items()
        }
        mixture = None if self.mixture is None else self.mixture.select(rows)
        return replace(self, held=held, space=space, mixture=mixture, blocks=blocks)

    def detached(self) -> Problem:
        """The same problem with held values cut from any autograd graph."""
        return replace(self, held={name: value.detach() for name, value in self.held.items()})

    def _fault_masks(self, x: Tensor, gradient: bool) -> list[tuple[str, Tensor]]:
        """For every term the rows [R] where it is not finite; in a joint space x must be one row."""
        leaf = x.detach().requires_grad_(gradient)
        masks = []
        with torch.set_grad_enabled(gradient):
            terms = self.functions.terms(self.unknown(leaf), self.held)
            for name, term in terms.items():
                bad = ~torch.isfinite(term.detach())
                if gradient and term.requires_grad:
                    (slope,) = torch.autograd.grad(term.sum(), leaf, retain_graph=True)
                    bad = ~torch.isfinite(self.space.sought(slope)).all(1)
                if self.space.joint:
                    bad = bad.any().reshape(1)
                masks.append((name, _per_row(bad, x.shape[0])))
        return masks

    def _fault(self, x: Tensor, gradient: bool) -> str | None:
        masks = self._fault_masks(x, gradient)
        return next((name for name, mask in masks if bool(mask.any())), None)

    def _split(self) -> SmoothPlusAbsolute:
        if self.split is None:
            raise ValueError("this problem is not given as a smooth energy plus absolute values")
        return self.split

    def unknown(self, x: Tensor) -> dict[str, Tensor]:
        """Values as the functions take them; in a joint space x must be one row."""
        values = self.space.values(x)
        if not self.space.joint:
            return values
        return {name: value[0] for name, value in values.items()}

    def _total(self, function: Callable[[Values, Values], Tensor], x: Tensor) -> Tensor:
        """Energies [R]."""
        if not self.space.joint:
            return _per_row(function(self.unknown(x), self.held), x.shape[0])
        # A term of the whole batch cannot tell restarts apart, so they are evaluated one by one.
        each = [function(self.unknown(row[None]), self.held).sum() for row in x]
        return torch.stack(each) if each else x.new_zeros(0)

    def _written(
        self, function: Callable[[Values, Values], tuple[Tensor, dict[str, Tensor]]], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Energies and gradients by a function that gives both."""
        if self.space.joint and x.shape[0] != 1:
            # A term of the whole batch cannot tell restarts apart, so they are evaluated one by one.
            each = [self._written(function, row) for row in x.split(1)]
            if not each:
                return x.new_zeros(0), torch.zeros_like(x)
            energies, gradients = zip(*each, strict=True)
            return torch.cat(energies), torch.cat(gradients)
        bare = self.space.bare
        if bare is not None and not torch.is_grad_enabled():
            energy, slopes = function({bare: x}, self.held)
            slope = slopes[bare]
            return _per_row(energy, x.shape[0]), slope if slope.shape == x.shape else slope.expand(x.shape)
        with torch.no_grad():
            parts = self._parts(x)
            energy, slopes = function(self.space.values_of(parts), self.held)
            energy = energy.reshape(1) if self.space.joint else _per_row(energy, x.shape[0])
            return energy, self._joined(parts, slopes)

    def _parts(self, x: Tensor) -> list[Tensor]:
        """The coordinates of every unknown, as written derivatives take them."""
        parts = self.space.split(x)
        return [part.squeeze(0) for part in parts] if self.space.joint else parts

    def _joined(self, parts: list[Tensor], slopes: Mapping[str, Tensor]) -> Tensor:
        """A gradient [R, N] from those along the values."""
        flat = []
        for unknown, part, size in zip(self.space.unknowns, parts, self.space.sizes, strict=True):
            slope = self._shaped(unknown, part, slopes[unknown.name])
            flat.append(slope if slope.ndim == 2 and not self.space.joint else slope.reshape(-1, size))
        gradient = flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)
        return self.space.sought(gradient)

    @staticmethod
    def _shaped(unknown: Unknown, part: Tensor, slope: Tensor) -> Tensor:
        """A derivative along a value as one along its coordinates, with every entry there."""
        if unknown.domain.kind is Kind.OPEN:
            with torch.enable_grad():
                leaf = part.detach().requires_grad_(True)
                value = unknown.domain.value(leaf)
                (slope,) = torch.autograd.grad(value, leaf, slope.expand(value.shape))
        return slope if slope.shape == part.shape else slope.expand(part.shape)

    def _differentiate(
        self, function: Callable[[Values, Values], Tensor], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        if not self.space.joint:
            energy, gradient = self._backward(function, self.space.split(x), x.shape[0])
            return energy, self.space.sought(gradient)
        if x.shape[0] == 0:
            return x.new_zeros(0), torch.zeros_like(x)
        # A term of the whole batch cannot tell restarts apart, so they are evaluated one by one.
        each = [
            self._backward(function, [part.squeeze(0) for part in self.space.split(row)], 1)
            for row in ([x] if x.shape[0] == 1 else x.split(1))
        ]
        if len(each) == 1:
            return each[0][0], self.space.sought(each[0][1])
        energies, gradients = zip(*each, strict=True)
        return torch.cat(energies), self.space.sought(torch.cat(gradients))

    def _backward(
        self, function: Callable[[Values, Values], Tensor], parts: list[Tensor], rows: int
    ) -> tuple[Tensor, Tensor]:
        """Energies [rows] and their gradients [rows, N] at coordinates that are split into unknowns."""
        # Rows are independent, so the gradient of the sum holds the gradient of each row. (One backward pass;
        # vmap of grad is several times slower.) Each unknown is a leaf of its own, because a split inside the
        # graph would cost a copy on the way back.
        leaves = [part.detach().requires_grad_(True) for part in parts]
        with torch.enable_grad():
            energy = function(self.space.values_of(leaves), self.held)
            total = energy.sum() if energy.ndim else energy
        slopes: list[Tensor] = []
        if total.requires_grad:
            found: tuple[Tensor | None, ...] = torch.autograd.grad(total, leaves, allow_unused=True)
            slopes = [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]
        energy = total.detach()[None] if self.space.joint else _per_row(energy.detach(), rows)
        slopes = slopes or [torch.zeros_like(leaf) for leaf in leaves]
        if self.space.joint:
            slopes = [slope[None] for slope in slopes]
        return energy, self.space.join(slopes)


def _per_row(energy: Tensor, rows: int) -> Tensor:
    if energy.shape == (rows,):
        return energy
    if energy.ndim > 1 or energy.numel() != 1:
        raise RuntimeError(f"an energy of shape {list(energy.shape)} for {rows} rows")
    return energy.reshape(1).expand(rows)
