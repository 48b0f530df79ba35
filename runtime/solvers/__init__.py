"""Solvers, by the name they have after `using`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ebmlang.runtime.solvers.accelerated_gradient import AcceleratedGradient
from ebmlang.runtime.solvers.adam import Adam
from ebmlang.runtime.solvers.block_coordinate import BlockCoordinate
from ebmlang.runtime.solvers.cem import Cem
from ebmlang.runtime.solvers.closed_form import ClosedForm
from ebmlang.runtime.solvers.concave_convex import ConcaveConvex
from ebmlang.runtime.solvers.fista import Fista
from ebmlang.runtime.solvers.gauss_newton import GaussNewton
from ebmlang.runtime.solvers.ilqr import Ilqr
from ebmlang.runtime.solvers.lbfgs import Lbfgs
from ebmlang.runtime.solvers.mppi import Mppi
from ebmlang.runtime.solvers.newton import Newton, ProjectedNewton
from ebmlang.runtime.solvers.projected_gauss_newton import ProjectedGaussNewton
from ebmlang.runtime.solvers.projected_gradient import ProjectedGradient
from ebmlang.runtime.solvers.projected_lbfgs import ProjectedLbfgs
from ebmlang.runtime.solvers.quadratic import Quadratic
from ebmlang.runtime.solvers.riccati import Riccati
from ebmlang.runtime.solvers.solver import AbstractSolver, Halt, State
from ebmlang.runtime.solvers.trust_region import TrustRegion

__all__ = [
    "SOLVERS",
    "AbstractSolver",
    "AcceleratedGradient",
    "Adam",
    "BlockCoordinate",
    "Cem",
    "ClosedForm",
    "ConcaveConvex",
    "Fista",
    "GaussNewton",
    "Halt",
    "Ilqr",
    "Lbfgs",
    "Mppi",
    "Newton",
    "ProjectedGaussNewton",
    "ProjectedGradient",
    "ProjectedLbfgs",
    "ProjectedNewton",
    "Quadratic",
    "Riccati",
    "State",
    "TrustRegion",
]

SOLVERS: Mapping[str, type[AbstractSolver]] = MappingProxyType(
    {
        "riccati": Riccati,
        "quadratic": Quadratic,
        "newton": Newton,
        "projected_newton": ProjectedNewton,
        "gauss_newton": GaussNewton,
        "trust_region": TrustRegion,
        "softmax": ClosedForm,
        "concave_convex": ConcaveConvex,
        "block_coordinate": BlockCoordinate,
        "accelerated_gradient": AcceleratedGradient,
        "ilqr": Ilqr,
        "lbfgs": Lbfgs,
        "projected_gauss_newton": ProjectedGaussNewton,
        "projected_lbfgs": ProjectedLbfgs,
        "projected_gradient": ProjectedGradient,
        "fista": Fista,
        "cem": Cem,
        "mppi": Mppi,
        "adam": Adam,
    }
)
