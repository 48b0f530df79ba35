"""The table of inference methods: facts, and where each is implemented.

The implementation is a dotted path, because the compiler never imports the runtime; a test
resolves every path. Rows stand in order of preference: the first one whose needs are met is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OptionKind = Literal["steps", "positive", "whole"]

COMMON: tuple[tuple[str, OptionKind], ...] = (
    ("steps", "steps"),
    ("tol", "positive"),
    ("restarts", "whole"),
)
"""Options that every method takes: step limit, tolerance, number of starts."""


@dataclass(frozen=True, slots=True)
class MethodRow:
    """`needs` are properties that findings must establish for the block; `views` is what the
    solver asks of a problem; `certificate` says what its answer is known to be. `provided` is what must
    hold of sizes and values besides, found out when they are bound; empty: nothing. `otherwise` is the
    method that is taken where the sizes that are bound make this one too expensive."""

    name: str
    implementation: str
    needs: tuple[str, ...]
    views: tuple[str, ...]
    options: tuple[tuple[str, OptionKind], ...]
    title: str
    certificate: str
    reference: str
    otherwise: str = ""
    provided: str = ""

    @property
    def exact(self) -> bool:
        """Whether the answer is computed, not searched for."""
        return self.certificate.startswith("exact")


METHODS: tuple[MethodRow, ...] = (
    MethodRow(
        "riccati",
        "ebmlang.runtime.solvers.riccati:Riccati",
        ("linear-quadratic rollout", "unconstrained"),
        ("steps and stage costs of a rollout",),
        (),
        "Riccati recursion over the states of a rollout",
        "exact: the minimum of a linear-quadratic problem, in one pass back and one forward",
        "Kalman 1960; Bertsekas 2017, section 3.1",
    ),
    MethodRow(
        "ilqr",
        "ebmlang.runtime.solvers.ilqr:Ilqr",
        ("rollout", "differentiable", "separable bounds"),
        ("steps and stage costs of a rollout", "energy and gradient", "bounds"),
        (),
        "Newton steps by the Riccati recursion, on the actions that are free",
        "stationary: the projected gradient is below the tolerance",
        "Dunn & Bertsekas 1989; Tassa, Mansard & Todorov 2014; Bertsekas 1982",
    ),
    MethodRow(
        "softmax",
        "ebmlang.runtime.solvers.closed_form:ClosedForm",
        ("linear minus entropy",),
        ("closed form",),
        (),
        "closed form, a softmax",
        "exact: the minimum, in closed form",
        "Boltzmann 1877; Boyd & Vandenberghe 2004, example 3.25",
    ),
    MethodRow(
        "concave_convex",
        "ebmlang.runtime.solvers.concave_convex:ConcaveConvex",
        ("log-sum-exp plus quadratic", "separate scores", "separable bounds"),
        ("scores", "bounds"),
        (),
        "concave-convex steps, each a softmax of the scores",
        "stationary: the gradient is below the tolerance, and no step has raised the energy",
        "Yuille & Rangarajan 2003; Ramsauer et al. 2021",
        provided="the majorising quadratic curves upwards and its matrix fits into memory",
    ),
    MethodRow(
        "quadratic",
        "ebmlang.runtime.solvers.quadratic:Quadratic",
        ("quadratic", "unconstrained", "separable bounds"),
        ("energy and gradient", "products with the Hessian"),
        (),
        "one factorisation of the Hessian in its pattern",
        "exact: the minimum of a quadratic energy, by one linear system",
        "Cholesky 1910; Higham 2002, chapters 10 and 12; colored products: Curtis, Powell & Reid 1974",
    ),
    MethodRow(
        "fista",
        "ebmlang.runtime.solvers.fista:Fista",
        ("smooth plus absolute values", "separable bounds"),
        ("smooth energy and gradient", "absolute-value weights"),
        (),
        "accelerated proximal gradient",
        "stationary: the proximal gradient is below the tolerance",
        "Beck & Teboulle 2009; restart by O'Donoghue & Candes 2015",
    ),
    MethodRow(
        "accelerated_gradient",
        "ebmlang.runtime.solvers.accelerated_gradient:AcceleratedGradient",
        ("differentiable", "convex", "unconstrained", "sparse Hessian"),
        ("energy and gradient",),
        (),
        "accelerated gradient with restart",
        "optimal: the gradient of a convex energy is below the tolerance",
        "Nesterov 1983; O'Donoghue & Candes 2015",
        provided="there are at least 500 unknowns, so that factors of a matrix that is no band fill",
    ),
    MethodRow(
        "newton",
        "ebmlang.runtime.solvers.newton:Newton",
        ("convex", "differentiable", "unconstrained", "separable bounds"),
        ("energy and gradient", "products with the Hessian"),
        (("patience", "whole"),),
        "Newton on the pattern of the Hessian",
        "the minimum of a convex energy: the gradient is below the tolerance",
        "Nocedal & Wright 2006, chapter 3; colored products: Curtis, Powell & Reid 1974",
        otherwise="lbfgs",
    ),
    MethodRow(
        "projected_newton",
        "ebmlang.runtime.solvers.newton:ProjectedNewton",
        ("convex", "differentiable", "constrained", "separable bounds"),
        ("energy and gradient", "products with the Hessian", "bounds"),
        (("patience", "whole"),),
        "Newton on the free entries, projected onto the bounds",
        "the minimum of a convex energy (Karush, Kuhn and Tucker): the projected gradient is below the "
        "tolerance",
        "Bertsekas 1982",
        otherwise="projected_lbfgs",
    ),
    MethodRow(
        "block_coordinate",
        "ebmlang.runtime.solvers.block_coordinate:BlockCoordinate",
        ("convex by blocks", "kinks apart", "bounds or kinks"),
        ("energy and gradient", "the question over each group of unknowns"),
        (("patience", "whole"),),
        "groups of unknowns in turn, each by its own method, with extrapolation",
        "stationary: each group is at its minimum given the others, within the tolerance, and no step has "
        "raised the energy",
        "Tseng 2001; Anderson 1965; Walker & Ni 2011",
        provided="there are 2,000 unknowns or more and at most 8 entries of a group meet each other, or "
        "bounds join entries, and the model itself is asked (a generated file holds one question)",
    ),
    MethodRow(
        "projected_gauss_newton",
        "ebmlang.runtime.solvers.projected_gauss_newton:ProjectedGaussNewton",
        ("sum of losses", "differentiable", "constrained", "separable bounds"),
        ("energy and gradient", "products with the squared Jacobian of the residuals", "bounds"),
        (("patience", "whole"),),
        "Gauss-Newton on the free entries, damped and projected onto the bounds",
        "stationary: the projected gradient is below the tolerance",
        "Bertsekas 1982; Kanzow, Yamashita & Fukushima 2004",
        otherwise="projected_lbfgs",
    ),
    MethodRow(
        "projected_lbfgs",
        "ebmlang.runtime.solvers.projected_lbfgs:ProjectedLbfgs",
        ("differentiable", "constrained", "separable bounds"),
        ("energy and gradient", "bounds"),
        (("memory", "whole"),),
        "projected L-BFGS on the free entries",
        "stationary: the projected gradient is below the tolerance",
        "Bertsekas 1982; Liu & Nocedal 1989",
    ),
    MethodRow(
        "projected_gradient",
        "ebmlang.runtime.solvers.projected_gradient:ProjectedGradient",
        ("differentiable", "constrained"),
        ("energy and gradient", "projection"),
        (),
        "spectral projected gradient",
        "stationary: the projected gradient is below the tolerance",
        "Birgin, Martinez & Raydan 2000; manifolds: Iannazzo & Porcelli 2018",
    ),
    MethodRow(
        "gauss_newton",
        "ebmlang.runtime.solvers.gauss_newton:GaussNewton",
        ("sum of losses", "differentiable", "unconstrained", "separate coordinates"),
        ("energy and gradient", "products with the squared Jacobian of the residuals"),
        (("patience", "whole"),),
        "Gauss-Newton, damped as by Levenberg and Marquardt",
        "stationary: the gradient is below the tolerance",
        "Levenberg 1944; Marquardt 1963; More 1978; damping by Nielsen 1999",
        otherwise="lbfgs",
    ),
    MethodRow(
        "trust_region",
        "ebmlang.runtime.solvers.trust_region:TrustRegion",
        ("smooth", "few couplings", "unconstrained", "separate coordinates"),
        ("energy and gradient", "written products with the Hessian"),
        (("patience", "whole"),),
        "Newton in a trust region on the pattern of the Hessian, and out of saddles",
        "stationary: the gradient is below the tolerance, and the energy curves down along no direction",
        "More & Sorensen 1983; Conn, Gould & Toint 2000; damping by Nielsen 1999",
        otherwise="lbfgs",
    ),
    MethodRow(
        "lbfgs",
        "ebmlang.runtime.solvers.lbfgs:Lbfgs",
        ("differentiable", "unconstrained"),
        ("energy and gradient",),
        (("memory", "whole"),),
        "L-BFGS with a strong-Wolfe line search",
        "stationary: the gradient is below the tolerance",
        "Liu & Nocedal 1989; Hager & Zhang 2005",
    ),
    MethodRow(
        "cem",
        "ebmlang.runtime.solvers.cem:Cem",
        ("rollout", "separable bounds"),
        ("steps and stage costs of a rollout", "bounds"),
        (("samples", "whole"), ("elites", "whole"), ("color", "positive"), ("patience", "whole")),
        "cross-entropy method over courses of actions",
        "settled: no better course of actions was drawn; nothing is claimed about the minimum",
        "Rubinstein 1999; Pinneri et al. 2020",
    ),
    MethodRow(
        "mppi",
        "ebmlang.runtime.solvers.mppi:Mppi",
        ("rollout", "separable bounds"),
        ("steps and stage costs of a rollout", "bounds"),
        (("samples", "whole"), ("temperature", "positive"), ("width", "positive"), ("color", "positive")),
        "path-integral mean over courses of actions",
        "settled: no better course of actions was drawn; nothing is claimed about the minimum",
        "Kappen 2005; Williams, Aldrich & Theodorou 2017",
    ),
    MethodRow(
        "adam",
        "ebmlang.runtime.solvers.adam:Adam",
        (),
        ("energy and gradient", "projection"),
        (("lr", "positive"),),
        "Adam with a decaying step",
        "settled: the energy has stopped falling; nothing is claimed about the minimum",
        "Kingma & Ba 2015",
    ),
)


PROGRAM_METHODS: tuple[MethodRow, ...] = (
    MethodRow(
        "epigraph",
        "ebmlang.runtime.constrained.epigraph:solve",
        ("convex", "maxima of affine values", "separable bounds"),
        ("energy and gradient", "bounds", "maxima of affine values"),
        (),
        "a height above every kink, in a linear or quadratic program",
        "optimal: the conditions of Karush, Kuhn and Tucker hold within the tolerance of a convex problem",
        "Boyd & Vandenberghe 2004, section 4.1.3; Mehrotra 1992",
        provided="there are at most 4,000 unknowns and kinks together, or nothing but kinks curves",
    ),
)
"""Methods that put another question in place of one without hard constraints: a program in more unknowns."""


def _with_programs() -> tuple[MethodRow, ...]:
    drawing = next(i for i, row in enumerate(METHODS) if row.name == "cem")
    return (*METHODS[:drawing], *PROGRAM_METHODS, *METHODS[drawing:])


WITHOUT_CONSTRAINTS = _with_programs()
"""All methods for real unknowns without hard constraints, in order of preference: a program comes before what
draws or settles."""


CONSTRAINED_METHODS: tuple[MethodRow, ...] = (
    MethodRow(
        "linear_program",
        "ebmlang.runtime.constrained.programs:by_linear_program",
        ("hard constraints", "linear program", "separable bounds"),
        ("energy and gradient", "bounds", "constraints"),
        (),
        "dual simplex or interior points of HiGHS",
        "optimal: the conditions of Karush, Kuhn and Tucker hold within the tolerance of a linear problem",
        "Huangfu & Hall 2018, in scipy; Rockafellar 1970, section 27",
    ),
    MethodRow(
        "staged_interior_point",
        "ebmlang.runtime.constrained.programs:by_stages",
        ("hard constraints", "limited rollout", "separable bounds"),
        ("steps and stage costs of a rollout", "energy and gradient", "bounds", "constraints"),
        (),
        "primal-dual interior point, each step by the Riccati recursion",
        "optimal: the conditions of Karush, Kuhn and Tucker hold within the tolerance of a convex problem",
        "Mehrotra 1992; Rao, Wright & Rawlings 1998",
    ),
    MethodRow(
        "interior_point",
        "ebmlang.runtime.constrained.programs:by_interior_point",
        ("hard constraints", "quadratic program", "linear bounds"),
        ("energy and gradient", "bounds", "constraints"),
        (),
        "primal-dual interior point",
        "optimal: the conditions of Karush, Kuhn and Tucker hold within the tolerance of a convex problem",
        "Mehrotra 1992; Nocedal & Wright 2006, chapter 16",
    ),
    MethodRow(
        "multiple_shooting",
        "ebmlang.runtime.constrained.multiple_shooting:by_shooting",
        ("hard constraints", "differentiable", "staged constraints", "separable bounds"),
        ("steps and stage costs of a rollout", "energy and gradient", "bounds", "constraints"),
        (),
        "primal-dual interior point along states and actions, each step by the Riccati recursion",
        "the constraints hold, and the point is stationary for them (Karush, Kuhn and Tucker)",
        "Bock & Plitt 1984; Waechter & Biegler 2006; Nocedal & Wright 2006, chapters 18 and 19",
        provided="no action is given in part",
    ),
    MethodRow(
        "null_space",
        "ebmlang.runtime.constrained.null_space:solve",
        (
            "hard constraints",
            "invertible by elimination",
            "differentiable",
            "unconstrained",
            "separable bounds",
        ),
        ("energy and gradient", "constraints"),
        (),
        "elimination of the equations, then",
        "the constraints hold, and the point is stationary for them (Karush, Kuhn and Tucker)",
        "Nocedal & Wright 2006, section 15.3",
        provided="examples share no unknowns, and the equations fit into memory",
    ),
    MethodRow(
        "augmented_lagrangian",
        "ebmlang.runtime.constrained.augmented_lagrangian:solve",
        ("hard constraints",),
        ("energy and gradient", "projection", "constraints"),
        (),
        "augmented Lagrangian around",
        "the constraints hold, and the point is stationary for them (Karush, Kuhn and Tucker)",
        "Powell 1969; Hestenes 1969; Rockafellar 1973; Birgin & Martinez 2014",
    ),
)
"""Methods for energies with hard constraints, in order of preference."""

AROUND = ("null_space", "augmented_lagrangian")
"""Methods for hard constraints that leave the energy to one of `INNER`."""

INNER = ("fista", "projected_lbfgs", "projected_gradient", "lbfgs", "adam")
"""Methods that may run inside of those: they need nothing but smoothness of the energy."""


DISCRETE_METHODS: tuple[MethodRow, ...] = (
    MethodRow(
        "assignment",
        "ebmlang.runtime.discrete.methods:by_assignment",
        ("discrete", "tables", "arranged", "single entries"),
        ("tables",),
        (),
        "linear assignment for orders, the cheapest entries for subsets",
        "exact: no other assignment has a lower energy",
        "Kuhn 1955; Crouse 2016, in scipy",
    ),
    MethodRow(
        "elimination",
        "ebmlang.runtime.discrete.methods:by_elimination",
        ("discrete", "tables", "free entries"),
        ("tables",),
        (),
        "variable elimination: min-sum, or sum-product to marginalize",
        "exact: no other assignment has a lower energy",
        "Bertele & Brioschi 1972; Dechter 1999; reductions by Arnborg & Proskurowski 1986",
    ),
    MethodRow(
        "enumeration",
        "ebmlang.runtime.discrete.methods:by_enumeration",
        ("discrete",),
        ("energy",),
        (),
        "every assignment",
        "exact: no other assignment has a lower energy",
        "definition",
    ),
    MethodRow(
        "cross_entropy",
        "ebmlang.runtime.discrete.methods:by_cross_entropy",
        ("discrete", "free entries"),
        ("energy",),
        (),
        "cross-entropy method over cases, then single changes of the best",
        "local: no change of a single entry lowers the energy; nothing is claimed about others",
        "Rubinstein 1999; de Boer et al. 2005",
    ),
    MethodRow(
        "coordinate_search",
        "ebmlang.runtime.discrete.methods:by_coordinates",
        ("discrete", "free entries"),
        ("energy",),
        (),
        "coordinate search over many starts (iterated conditional modes)",
        "local: no change of a single entry lowers the energy; nothing is claimed about others",
        "Besag 1986",
    ),
    MethodRow(
        "exchange_search",
        "ebmlang.runtime.discrete.methods:by_exchanges",
        ("discrete", "arranged"),
        ("energy",),
        (),
        "the best exchange of two entries again and again, over many starts",
        "local: no exchange of two entries, and no change of an entry that may change alone, lowers the "
        "energy; nothing is claimed about others",
        "Armour & Buffa 1963",
    ),
)
"""Methods for unknowns with countable values; sizes decide at binding whether one works."""

MIXED_METHODS: tuple[MethodRow, ...] = (
    MethodRow(
        "states",
        "ebmlang.runtime.mixed.search:by_states",
        ("mixed",),
        ("the question over the real unknowns",),
        (),
        "every state of the countable unknowns, all side by side",
        "the lowest of all states; what is known of the real unknowns in each is said with the answer",
        "definition",
    ),
    MethodRow(
        "alternation",
        "ebmlang.runtime.mixed.search:by_turns",
        ("mixed",),
        ("the question over the real unknowns", "the question over the countable unknowns"),
        (),
        "countable unknowns given the real ones and the other way round, from many starts",
        "local: no change of the countable or of the real unknowns alone was found that lowers the energy",
        "Bezdek & Hathaway 2002",
    ),
)
"""Methods for countable and real unknowns at once, around one for the real ones."""

ALL_METHODS = (*WITHOUT_CONSTRAINTS, *CONSTRAINED_METHODS, *DISCRETE_METHODS, *MIXED_METHODS)


def find_method(name: str) -> MethodRow | None:
    return next((row for row in ALL_METHODS if row.name == name), None)


def method_names() -> tuple[str, ...]:
    """Everything that may follow `using`."""
    return tuple(row.name for row in ALL_METHODS)


def claim_of(row: MethodRow, *, convex: bool) -> str:
    """What is known of an answer of a method; of a convex problem a stationary point is a minimum."""
    if not convex:
        return row.certificate
    kept = row.certificate.removeprefix("stationary: ")
    return row.certificate if kept == row.certificate else f"the minimum of a convex energy: {kept}"
