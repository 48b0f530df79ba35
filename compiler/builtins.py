"""The table of built-in functions and operators: one row each.

A row says how shapes follow, how PyTorch spells the function, what its derivative and curvature
are, and gives an example. Adding a function is adding a row; the tests walk the table.

In `torch`, `{0}`, `{1}`, ... are the operands, brought to a common layout (examples, plate axes,
declared shape); `{dim}` is the tuple of reduced dimensions, `{last}` one dimension counted from
the right; other fields are options by name.
"""

# One row a line, however long it is: the table is read downwards.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Form = Literal[
    "operator",  # infix or prefix arithmetic: operands stretch, kinds join
    "comparison",  # operands stretch, the result is bool
    "elementwise",  # operands stretch, the result is real
    "reduction",  # all entries, an axis, an index, or the examples
    "axis",  # works along an axis, by default the last, and keeps the shape
    "matrix",  # a shape rule of its own in compiler/shapes.py
    "shape",  # rearranges entries; a shape rule of its own
    "constructor",  # makes an array from sizes
    "net",  # a call of a declared net, which has a syntax of its own
    "derivative",  # of one value along another, written out: compiler/jacobians.py
    "distribution",  # a draw: only in start values and after `~`
    "written",  # written out in other functions: compiler/densities.py, dropout.py
]

Curvature = Literal["affine", "convex", "concave", ""]
Trend = Literal["increasing", "decreasing", ""]
Smoothness = Literal["smooth", "piecewise", "kink", "steps"]


@dataclass(frozen=True, slots=True)
class Builtin:
    """One row.

    `options` are named arguments with their defaults (None: must be given or has no default).
    `curvature` and `trend` hold over the whole `range_of_definition`. `smoothness`: `smooth`
    means twice differentiable, `piecewise` continuously differentiable apart from a null set
    without a downward kink that a minimiser could sit in, `kink` convex kinks, `steps`
    piecewise constant. `derivative` is written in the language, in terms of x, y and z.
    `sympy` is the scalar definition; `points` is where tests draw operands from.
    """

    name: str
    form: Form
    operands: tuple[int, int]
    torch: str
    doc: str
    example: str
    options: tuple[tuple[str, float | None], ...] = ()
    curvature: Curvature = ""
    trend: Trend = ""
    smoothness: Smoothness = "smooth"
    derivative: tuple[str, ...] = ()
    sympy: str = ""
    points: tuple[float, float] = (-3.0, 3.0)
    result: Literal["real", "int", "bool", "same"] = "real"


def _unary(
    name: str,
    torch: str,
    doc: str,
    derivative: str,
    sympy: str,
    curvature: Curvature = "",
    trend: Trend = "",
    smoothness: Smoothness = "smooth",
    points: tuple[float, float] = (-3.0, 3.0),
    options: tuple[tuple[str, float | None], ...] = (),
    result: Literal["real", "int", "bool", "same"] = "real",
) -> Builtin:
    return Builtin(
        name, "elementwise", (1, 1), torch, doc, f"{name}(x)",
        options, curvature, trend, smoothness, (derivative,), sympy, points, result,
    )  # fmt: skip


_POSITIVE = (0.1, 3.0)

OPERATORS: tuple[Builtin, ...] = (
    Builtin("add", "operator", (2, 2), "{0} + {1}", "sum", "x + y", (), "affine", "increasing", derivative=("1", "1"), sympy="x + y", result="same"),
    Builtin("sub", "operator", (2, 2), "{0} - {1}", "difference", "x - y", (), "affine", derivative=("1", "-1"), sympy="x - y", result="same"),
    Builtin("mul", "operator", (2, 2), "{0} * {1}", "product of entries", "x * y", derivative=("y", "x"), sympy="x * y", result="same"),
    Builtin("div", "operator", (2, 2), "{0} / {1}", "real division", "x / y", derivative=("1 / y", "-x / y^2"), sympy="x / y", points=_POSITIVE),
    Builtin("floordiv", "operator", (2, 2), "torch.div({0}, {1}, rounding_mode='floor')", "division rounded down", "x // y", (), smoothness="steps", derivative=("0", "0"), sympy="floor(x / y)", points=_POSITIVE, result="same"),
    Builtin("mod", "operator", (2, 2), "torch.remainder({0}, {1})", "remainder with the sign of the divisor", "x % y", (), smoothness="piecewise", derivative=("1", "-(x // y)"), sympy="x - y * floor(x / y)", points=_POSITIVE, result="same"),
    Builtin("pow", "operator", (2, 2), "{0} ** {1}", "power", "x ^ y", derivative=("y * x^(y - 1)", "x^y * log(x)"), sympy="x**y", points=_POSITIVE, result="same"),
    Builtin("neg", "operator", (1, 1), "-{0}", "negation", "-x", (), "affine", "decreasing", derivative=("-1",), sympy="-x", result="same"),
    Builtin("lt", "comparison", (2, 2), "{0} < {1}", "less than", "x < y", smoothness="steps", result="bool"),
    Builtin("le", "comparison", (2, 2), "{0} <= {1}", "at most", "x <= y", smoothness="steps", result="bool"),
    Builtin("gt", "comparison", (2, 2), "{0} > {1}", "greater than", "x > y", smoothness="steps", result="bool"),
    Builtin("ge", "comparison", (2, 2), "{0} >= {1}", "at least", "x >= y", smoothness="steps", result="bool"),
    Builtin("eq", "comparison", (2, 2), "{0} == {1}", "equal", "x == y", smoothness="steps", result="bool"),
    Builtin("ne", "comparison", (2, 2), "{0} != {1}", "different", "x != y", smoothness="steps", result="bool"),
    Builtin("and", "comparison", (2, 2), "torch.logical_and({0}, {1})", "both", "x > 0 and y > 0", smoothness="steps", result="bool"),
    Builtin("or", "comparison", (2, 2), "torch.logical_or({0}, {1})", "at least one", "x > 0 or y > 0", smoothness="steps", result="bool"),
    Builtin("matmul", "matrix", (2, 2), "{0} @ {1}", "matrix product of vectors and matrices", "A @ v"),
    Builtin("transpose", "matrix", (1, 1), "{0}.mT", "the last two dimensions swapped", "A.T", (), "affine", result="same"),
)  # fmt: skip

ELEMENTWISE: tuple[Builtin, ...] = (
    _unary("exp", "torch.exp({0})", "e to the power x", "exp(x)", "exp(x)", "convex", "increasing"),
    _unary("log", "torch.log({0})", "natural logarithm; -inf at 0", "1 / x", "log(x)", "concave", "increasing", points=_POSITIVE),
    _unary("log1p", "torch.log1p({0})", "log(1 + x), exact for small x", "1 / (1 + x)", "log(1 + x)", "concave", "increasing", points=(-0.9, 3.0)),
    _unary("expm1", "torch.expm1({0})", "exp(x) - 1, exact for small x", "exp(x)", "exp(x) - 1", "convex", "increasing"),
    _unary("sqrt", "torch.sqrt({0})", "square root", "0.5 / sqrt(x)", "sqrt(x)", "concave", "increasing", points=_POSITIVE),
    _unary("square", "torch.square({0})", "x^2", "2 * x", "x**2", "convex"),
    _unary("abs", "torch.abs({0})", "absolute value, also written |x|", "sign(x)", "Abs(x)", "convex", smoothness="kink", result="same"),
    _unary("sign", "torch.sign({0})", "-1, 0 or 1", "0", "sign(x)", "", "increasing", "steps", result="same"),
    _unary("floor", "torch.floor({0})", "rounded down", "0", "floor(x)", "", "increasing", "steps"),
    _unary("ceil", "torch.ceil({0})", "rounded up", "0", "ceiling(x)", "", "increasing", "steps"),
    _unary("round", "torch.round({0})", "rounded to the nearest integer, halves to even", "0", "", "", "increasing", "steps"),
    _unary("sin", "torch.sin({0})", "sine", "cos(x)", "sin(x)"),
    _unary("cos", "torch.cos({0})", "cosine", "-sin(x)", "cos(x)"),
    _unary("tan", "torch.tan({0})", "tangent", "1 + tan(x)^2", "tan(x)", points=(-1.2, 1.2)),
    _unary("asin", "torch.asin({0})", "inverse sine", "1 / sqrt(1 - x^2)", "asin(x)", "", "increasing", points=(-0.9, 0.9)),
    _unary("acos", "torch.acos({0})", "inverse cosine", "-1 / sqrt(1 - x^2)", "acos(x)", "", "decreasing", points=(-0.9, 0.9)),
    _unary("atan", "torch.atan({0})", "inverse tangent", "1 / (1 + x^2)", "atan(x)", "", "increasing"),
    _unary("sinh", "torch.sinh({0})", "hyperbolic sine", "cosh(x)", "sinh(x)", "", "increasing"),
    _unary("cosh", "torch.cosh({0})", "hyperbolic cosine", "sinh(x)", "cosh(x)", "convex"),
    _unary("tanh", "torch.tanh({0})", "hyperbolic tangent", "1 - tanh(x)^2", "tanh(x)", "", "increasing"),
    _unary("erf", "torch.erf({0})", "error function", "2 / sqrt(pi) * exp(-x^2)", "erf(x)", "", "increasing"),
    _unary("lgamma", "torch.lgamma({0})", "logarithm of the gamma function", "", "loggamma(x)", "convex", points=_POSITIVE),
    _unary("sigmoid", "torch.sigmoid({0})", "1 / (1 + exp(-x))", "sigmoid(x) * (1 - sigmoid(x))", "1 / (1 + exp(-x))", "", "increasing"),
    _unary("relu", "torch.relu({0})", "max(x, 0)", "where(x > 0, 1, 0)", "Max(x, 0)", "convex", "increasing", "piecewise"),
    _unary("softplus", "F.softplus({0})", "log(1 + exp(x))", "sigmoid(x)", "log(1 + exp(x))", "convex", "increasing"),
    _unary("gelu", "F.gelu({0})", "x times the standard normal distribution function (Hendrycks & Gimpel 2016)", "0.5 * (1 + erf(x / sqrt(2))) + x * exp(-x^2 / 2) / sqrt(2 * pi)", "x * (1 + erf(x / sqrt(2))) / 2"),
    _unary("silu", "F.silu({0})", "x * sigmoid(x)", "sigmoid(x) * (1 + x * (1 - sigmoid(x)))", "x / (1 + exp(-x))"),
    _unary("huber", "functions.huber({0}, {delta})", "x^2/2 inside delta, delta * (|x| - delta/2) outside (Huber 1964)", "clamp(x, -delta, delta)", "Piecewise((x**2/2, Abs(x) <= delta), (delta*(Abs(x) - delta/2), True))", "convex", smoothness="piecewise", options=(("delta", 1.0),)),
    _unary("wrap", "torch.remainder({0} + torch.pi, 2 * torch.pi) - torch.pi", "the angle brought to [-pi, pi)", "1", "Mod(x + pi, 2*pi) - pi", smoothness="piecewise"),
    _unary("stop", "torch.detach({0})", "the value, without a gradient through it", "", "", smoothness="kink", result="same"),
    _unary("not", "torch.logical_not({0})", "true where x is false", "", "", smoothness="steps", result="bool"),
    Builtin("atan2", "elementwise", (2, 2), "torch.atan2({0}, {1})", "angle of the point (y, x): atan2(y, x)", "atan2(x, y)", derivative=("y / (x^2 + y^2)", "-x / (x^2 + y^2)"), sympy="atan2(x, y)", points=_POSITIVE),
    Builtin("xlogy", "elementwise", (2, 2), "torch.xlogy({0}, {1})", "x * log(y), and 0 where x is 0", "xlogy(x, y)", derivative=("log(y)", "x / y"), sympy="x * log(y)", points=_POSITIVE),
    Builtin("maximum", "elementwise", (2, 2), "torch.maximum({0}, {1})", "the larger of two values; also max(x, y)", "maximum(x, y)", (), "convex", "increasing", "kink", ("where(x > y, 1, 0)", "where(x > y, 0, 1)"), "Max(x, y)", result="same"),
    Builtin("minimum", "elementwise", (2, 2), "torch.minimum({0}, {1})", "the smaller of two values; also min(x, y)", "minimum(x, y)", (), "concave", "increasing", "kink", ("where(x < y, 1, 0)", "where(x < y, 0, 1)"), "Min(x, y)", result="same"),
    Builtin("clamp", "elementwise", (3, 3), "functions.clamp({0}, {1}, {2})", "x limited to [lo, hi]", "clamp(x, 0, 1)", smoothness="piecewise", derivative=("where(x > y and x < z, 1, 0)", "where(x < y, 1, 0)", "where(x > z, 1, 0)"), sympy="Min(Max(x, y), z)", result="same"),
    Builtin("where", "elementwise", (3, 3), "torch.where({0}, {1}, {2})", "b where the condition holds, else c", "where(x > 0, x, -x)", smoothness="kink", result="same"),
)  # fmt: skip

REDUCTIONS: tuple[Builtin, ...] = (
    Builtin("sum", "reduction", (1, 1), "{0}.sum({dim})", "sum of all entries, along an axis, over an index or over the batch", "sum(x)", (), "affine", "increasing", result="same"),
    Builtin("mean", "reduction", (1, 1), "{0}.mean({dim})", "mean", "mean(x)", (), "affine", "increasing"),
    Builtin("prod", "reduction", (1, 1), "{0}.flatten({first}).prod(-1)", "product", "prod(x)", result="same"),
    Builtin("max", "reduction", (1, 2), "{0}.amax({dim})", "largest entry; max(x, y) is the larger of two values", "max(x)", (), "convex", "increasing", "kink", result="same"),
    Builtin("min", "reduction", (1, 2), "{0}.amin({dim})", "smallest entry; min(x, y) is the smaller of two values", "min(x)", (), "concave", "increasing", "kink", result="same"),
    Builtin("std", "reduction", (1, 1), "functions.fold_std({0}, {dim})", "standard deviation, unbiased", "std(x)", (), "convex", smoothness="piecewise"),
    Builtin("var", "reduction", (1, 1), "functions.fold_var({0}, {dim})", "variance, unbiased", "var(x)", (), "convex"),
    Builtin("logsumexp", "reduction", (1, 1), "torch.logsumexp({0}, {dim})", "log of the sum of exponentials; of the last axis unless `over` says otherwise", "logsumexp(x)", (), "convex", "increasing"),
    Builtin("entropy", "reduction", (1, 1), "torch.special.entr({0}).sum({dim})", "-sum x log x, 0 at 0", "entropy(p)", (), "concave", points=_POSITIVE),
    Builtin("argmax", "reduction", (1, 1), "{0}.flatten({first}).max(-1).indices", "position of the largest entry", "argmax(x)", smoothness="steps", result="int"),
    Builtin("argmin", "reduction", (1, 1), "{0}.flatten({first}).min(-1).indices", "position of the smallest entry", "argmin(x)", smoothness="steps", result="int"),
    Builtin("all", "reduction", (1, 1), "{0}.flatten({first}).all(-1)", "whether every entry is true", "all(x > 0)", smoothness="steps", result="bool"),
    Builtin("any", "reduction", (1, 1), "{0}.flatten({first}).any(-1)", "whether some entry is true", "any(x > 0)", smoothness="steps", result="bool"),
)  # fmt: skip

ALONG_AXIS: tuple[Builtin, ...] = (
    Builtin("softmax", "axis", (1, 1), "torch.softmax({0}, {last})", "exp(x) scaled to sum 1 along the last axis", "softmax(x)"),
    Builtin("cumsum", "axis", (1, 1), "{0}.cumsum({last})", "running sum along the last axis", "cumsum(x)", (), "affine", "increasing", result="same"),
    Builtin("sort", "axis", (1, 1), "{0}.sort({last}).values", "entries in rising order along the last axis", "sort(x)", smoothness="kink", result="same"),
)  # fmt: skip

MATRIX: tuple[Builtin, ...] = (
    Builtin("dot", "matrix", (2, 2), "({0} * {1}).sum(-1)", "inner product of two vectors", "dot(x, y)"),
    Builtin("norm", "matrix", (1, 1), "torch.linalg.vector_norm({0}, {order}, {dim})", "||x||: Euclidean, Frobenius for matrices; order = 1 sums absolute values", "norm(x)", (("order", 2.0),), "convex", smoothness="kink"),
    Builtin("norm_squared", "matrix", (1, 1), "{0}.square().sum({dim})", "||x||^2, the sum of squares", "||x||^2", (), "convex"),
    Builtin("einsum", "matrix", (2, 9), "torch.einsum({spec}, {all})", "sum of products over named indices, as in torch.einsum", 'einsum("ij,j->i", A, v)'),
    Builtin("outer", "matrix", (2, 2), "{0}.unsqueeze(-1) * {1}.unsqueeze(-2)", "outer product of two vectors", "outer(x, y)"),
    Builtin("diag", "matrix", (1, 1), "torch.diag_embed({0})", "diagonal matrix of a vector, or diagonal of a matrix", "diag(x)", (), "affine", result="same"),
    Builtin("trace", "matrix", (1, 1), "{0}.diagonal(dim1=-2, dim2=-1).sum(-1)", "sum of the diagonal", "trace(A)", (), "affine", result="same"),
    Builtin("det", "matrix", (1, 1), "torch.linalg.det({0})", "determinant", "det(A)"),
    Builtin("logabsdet", "matrix", (1, 1), "torch.linalg.slogdet({0}).logabsdet", "log |det A|", "logabsdet(A)"),
    Builtin("inverse", "matrix", (1, 1), "functions.inverse({0})", "matrix inverse", "inverse(A)"),
    Builtin("linear_solve", "matrix", (2, 2), "functions.solve({0}, {1})", "x with A @ x = b, for a vector or a matrix b", "linear_solve(A, b)"),
    Builtin("cov", "matrix", (1, 1), "functions.covariance({0})", "covariance of the columns of a matrix whose rows are observations, unbiased; cov(u, over = batch) takes the examples as rows", "cov(A)"),
)  # fmt: skip

SHAPE: tuple[Builtin, ...] = (
    Builtin("concat", "shape", (1, 64), "torch.cat(({all}), {last})", "arrays one after the other along `over` (default 0)", "concat(x, y)", (("over", 0.0),), "affine", "increasing", result="same"),
    Builtin("stack", "shape", (1, 64), "torch.stack(({all}), {last})", "arrays of one shape along a new first axis; stack(u, over = batch) takes the values of all examples", "stack(x, y)", (), "affine", "increasing", result="same"),
    Builtin("reshape", "shape", (2, 9), "{0}.reshape({shape})", "the same entries in another shape: reshape(x, n, m)", "reshape(x, 2, 2)", (), "affine", "increasing", result="same"),
    Builtin("gather", "shape", (2, 2), "{0}[{1}]", "entries x[index] along the first axis", "gather(x, index)", (), "affine", result="same"),
    Builtin("top_softmax", "shape", (2, 2), "functions.top_softmax({0}, {size})", "softmax over the k largest entries of the last axis, 0 elsewhere: top_softmax(x, k) (Shazeer et al. 2017)", "top_softmax(x, 2)", smoothness="steps"),
    Builtin("onehot", "shape", (2, 2), "functions.onehot({0}, {size}, self.dtype)", "a 1 at the position of the class, 0 elsewhere: onehot(c, K)", "onehot(c, 3)"),
)  # fmt: skip

CONSTRUCTORS: tuple[Builtin, ...] = (
    Builtin("zeros", "constructor", (1, 8), "torch.zeros({shape}{like})", "array of zeros", "zeros(2, 3)"),
    Builtin("ones", "constructor", (1, 8), "torch.ones({shape}{like})", "array of ones", "ones(2, 3)"),
    Builtin("identity", "constructor", (1, 1), "torch.eye({shape}{like})", "identity matrix", "identity(3)"),
)  # fmt: skip

DISTRIBUTIONS: tuple[Builtin, ...] = (
    Builtin("normal", "distribution", (0, 2), "normal", "normal with a mean and a standard deviation", "normal(0, 1)"),
    Builtin("uniform", "distribution", (0, 2), "uniform", "uniform between two bounds", "uniform(0, 1)"),
    Builtin("bernoulli", "distribution", (1, 1), "bernoulli", "true with a probability", "bernoulli(0.5)"),
    Builtin("categorical", "distribution", (1, 1), "categorical", "class drawn with given probabilities", "categorical([0.2, 0.8])"),
)  # fmt: skip

NETS: tuple[Builtin, ...] = (
    Builtin("net", "net", (1, 64), "", "a call of a net", "f(x)"),
    Builtin("net_slope", "net", (1, 64), "", "a derivative of a net", "grad(f(x), x)"),
)

DERIVATIVES: tuple[Builtin, ...] = (
    Builtin("grad", "derivative", (2, 2), "", "derivatives of a number e along all entries of x: [shape of x]", "grad(e, x)"),
    Builtin("jacobian", "derivative", (2, 2), "", "derivatives of all entries of e along all of x: [shape of e, shape of x]", "jacobian(e, x)"),
)  # fmt: skip

WRITTEN: tuple[Builtin, ...] = (
    Builtin("straight_through", "written", (2, 2), "", "the value of the first argument with the gradient of the second one", "straight_through(hard, soft)"),
    Builtin("dropout", "written", (2, 2), "", "in training: entries set to 0 with probability p, the others divided by 1 - p", "dropout(x, 0.1)"),
    Builtin("logp", "written", (1, 1), "", "log-density of a random variable, or of a part as in logp(eps[k]), summed over its entries", "logp(eps)"),
)  # fmt: skip

TABLE: tuple[Builtin, ...] = (
    *OPERATORS, *ELEMENTWISE, *REDUCTIONS, *ALONG_AXIS, *MATRIX, *SHAPE, *CONSTRUCTORS, *DISTRIBUTIONS, *NETS, *DERIVATIVES, *WRITTEN,
)  # fmt: skip

BUILTINS: dict[str, Builtin] = {row.name: row for row in TABLE}

CALLABLE: frozenset[str] = frozenset(
    row.name
    for row in TABLE
    if row.form not in ("operator", "comparison", "net")
    and row.name not in ("matmul", "transpose", "norm_squared")
)
"""Names that a program can call; operators have their own spelling."""

CONSTANTS: dict[str, float | bool] = {
    "pi": 3.141592653589793,
    "inf": float("inf"),
    "true": True,
    "false": False,
}
