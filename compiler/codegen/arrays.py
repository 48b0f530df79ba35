"""How built-ins of vectors and matrices, and those that rearrange entries, are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ebmlang.compiler import typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.codegen.attention import write_attention
from ebmlang.compiler.codegen.layout import ATOM, PRODUCT, Code, Layout, aligned, layout_of
from ebmlang.compiler.codegen.writing import lead, result
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.typed import Apply, Level

if TYPE_CHECKING:
    from ebmlang.compiler.codegen.expressions import Emitter


# --- products -----------------------------------------------------------------------------------


def _matmul(e: Emitter, node: Apply) -> Code:
    fused = write_attention(e, node)
    if fused is not None:
        return fused
    left, right = (e.tensor(e.of_kind(a, node.type.kind)) for a in node.arguments)
    a, b = left.rank, right.rank
    if a == 1 and b == 1:
        return result(
            e, node, f"({_times(lead(left, node, 1), lead(right, node, 1))}).sum(-1)", kind=left.kind
        )
    bare_left, bare_right = left.dims == a, right.dims == b
    plain = f"{left.at(PRODUCT)} @ {right.at(PRODUCT + 1)}"
    if a == 2 and b == 1:
        if bare_left and right.dims > 1 and left.kind == "real":
            return result(e, node, f"F.linear({right.text}, {left.text})")
        if bare_left and right.dims == 1:
            return result(e, node, plain, PRODUCT, left.kind)
        column = lead(right, node, 1).at(ATOM)
        text = f"({lead(left, node, 2).at(PRODUCT)} @ {column}.unsqueeze(-1)).squeeze(-1)"
        return result(e, node, text, kind=left.kind)
    if a == 1 and b == 2:
        if bare_right:
            return result(e, node, plain, PRODUCT, left.kind)
        row = lead(left, node, 1).at(ATOM)
        text = f"({row}.unsqueeze(-2) @ {lead(right, node, 2).at(PRODUCT + 1)}).squeeze(-2)"
        return result(e, node, text, kind=left.kind)
    text = f"{lead(left, node, a).at(PRODUCT)} @ {lead(right, node, b).at(PRODUCT + 1)}"
    return result(e, node, text, PRODUCT, left.kind)


def _times(left: Code, right: Code) -> str:
    return f"{left.at(PRODUCT)} * {right.at(PRODUCT + 1)}"


def _dot(e: Emitter, node: Apply) -> Code:
    left, right = (lead(e.tensor(e.real(a)), node, 1) for a in node.arguments)
    return result(e, node, f"({_times(left, right)}).sum(-1)")


def _outer(e: Emitter, node: Apply) -> Code:
    left, right = (lead(e.tensor(e.real(a)), node, 1) for a in node.arguments)
    return result(e, node, f"{left.at(ATOM)}.unsqueeze(-1) * {right.at(ATOM)}.unsqueeze(-2)", PRODUCT)


def _einsum(e: Emitter, node: Apply) -> Code:
    spec = node.option("spec")
    assert isinstance(spec, str)
    inputs, output = spec.split("->")
    codes = [e.tensor(e.real(a)) for a in node.arguments]
    if all(c.dims == c.rank for c in codes):
        return result(e, node, f'torch.einsum("{spec}", {", ".join(c.text for c in codes)})')
    if len(codes) == 2 and any(c.dims == c.rank for c in codes):
        first, second = inputs.split(",")
        if codes[0].dims == codes[0].rank:
            codes, first, second = codes[::-1], second, first
        other, weight = lead(codes[0], node, codes[0].rank), codes[1]
        text = f'leads.einsum("{first},{second}->{output}", {other.text}, {weight.text})'
        return result(e, node, text)
    wide = ",".join("..." + letters for letters in inputs.split(","))
    texts = [lead(c, node, c.rank).text for c in codes]
    return result(e, node, f'torch.einsum("{wide}->...{output}", {", ".join(texts)})')


# --- matrices -----------------------------------------------------------------------------------


def _transpose(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e.code(node.arguments[0]))
    return result(e, node, f"{operand.at(ATOM)}.mT", kind=operand.kind)


def _unary_matrix(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e.of_kind(node.arguments[0], "int" if node.type.kind == "bool" else node.type.kind))
    template = BUILTINS[node.function].torch
    shown = operand.text if template.startswith(("torch.", "functions.")) else operand.at(ATOM)
    return result(e, node, template.format(shown), kind=operand.kind)


def _diag(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e.code(node.arguments[0]))
    if node.option("make"):
        return result(e, node, f"torch.diag_embed({operand.text})", kind=operand.kind)
    return result(e, node, f"{operand.at(ATOM)}.diagonal(dim1=-2, dim2=-1)", kind=operand.kind)


def _linear_solve(e: Emitter, node: Apply) -> Code:
    matrix, right = (e.tensor(e.real(a)) for a in node.arguments)
    left = lead(matrix, node, 2).text
    # The variant without checks: one singular matrix must not stop the other rows.
    if node.option("vector"):
        column = lead(right, node, 1).at(ATOM)
        return result(e, node, f"functions.solve({left}, {column}.unsqueeze(-1)).squeeze(-1)")
    return result(e, node, f"functions.solve({left}, {lead(right, node, 2).text})")


def _cov(e: Emitter, node: Apply) -> Code:
    return result(e, node, f"functions.covariance({e.tensor(e.real(node.arguments[0])).text})")


# --- rearranging --------------------------------------------------------------------------------


def _concat(e: Emitter, node: Apply) -> Code:
    from ebmlang.compiler.codegen.expressions import even

    where = layout_of(node)
    axis, kind, rank = node.option("axis"), node.type.kind, node.arguments[0].type.rank
    codes = [e.tensor(e.of_kind(a, kind)) for a in node.arguments]
    texts = [aligned(c, Layout(where.batch, where.axes, rank)).text for c in codes]
    inside = f"{', '.join(texts)}{',' * (len(texts) == 1)}"
    if even(codes):
        return result(e, node, f"torch.cat(({inside}), {axis})")
    return result(e, node, f"functions.concat(({inside}), {axis}, {rank})")


def _stack(e: Emitter, node: Apply) -> Code:
    where = layout_of(node)
    codes = [e.tensor(e.of_kind(a, node.type.kind)) for a in node.arguments]
    return result(e, node, e.stacked(codes, Layout(where.batch, where.axes, where.rank - 1)))


def _reshape(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e.code(node.arguments[0]))
    shape = node.option("shape")
    assert isinstance(shape, tuple)
    front = operand.dims - operand.rank
    if operand.rank == 0:
        text = f"{operand.at(ATOM)}[..., {', '.join(['None'] * len(shape))}]"
        return result(e, node, text, kind=operand.kind)
    sizes = ", ".join(e.size(s) for s in shape if isinstance(s, Size))
    if front == 0:
        return result(e, node, f"{operand.at(ATOM)}.reshape({sizes})", kind=operand.kind)
    flat = f".flatten({front})" if operand.rank > 1 else ""
    return result(e, node, f"{operand.at(ATOM)}{flat}.unflatten({front}, ({sizes},))", kind=operand.kind)


def _gather(e: Emitter, node: Apply) -> Code:
    array, index = node.arguments
    rest = tuple(typed.SliceOf(ZERO, size) for size in array.type.shape[1:])
    return e.code(pick(array, (index, *rest), node.span))


def _onehot(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e.code(node.arguments[0]))
    size = node.option("size")
    assert isinstance(size, Size)
    return result(e, node, f"functions.onehot({operand.text}, {e.size(size)}, self.dtype)")


def _top_softmax(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e.real(node.arguments[0]))
    size = node.option("size")
    assert isinstance(size, Size)
    return result(e, node, f"functions.top_softmax({operand.text}, {e.size(size)})")


def _constructor(e: Emitter, node: Apply) -> Code:
    shape = node.option("shape")
    assert isinstance(shape, tuple)
    sizes = ", ".join(e.size(s) for s in (shape[:1] if node.function == "identity" else shape))
    name = {"zeros": "zeros", "ones": "ones", "identity": "eye"}[node.function]
    text = f"torch.{name}({sizes}, dtype=self.dtype, device=self.device)"
    return Code(text, ATOM, False, (), len(shape), "real")


def _distribution(e: Emitter, node: Apply) -> Code:
    """A draw that fills the declared type; `self.draw` keys it by seed, name and row."""
    shape = ", ".join(e.size(s) for s in node.type.shape)
    comma = "," if node.type.rank == 1 else ""
    batch = e.target_batch or node.level is Level.EXAMPLE
    where = Layout(batch, (), node.type.rank if node.function != "categorical" else node.type.rank + 1)
    codes = [e.real(a) for a in node.arguments]
    if node.function == "categorical":
        codes = [_probabilities(e.tensor(c), node.type.rank) for c in codes]
    texts = [c.text if c.python or node.function == "categorical" else aligned(c, where).text for c in codes]
    number = e.draws
    e.draws += 1
    arguments = "".join(f", {t}" for t in texts)
    text = f"self.draw.{node.function}({e.target!r}, {number}, ({shape}{comma}){arguments})"
    kind = "bool" if node.function == "bernoulli" else node.type.kind
    return Code(text, ATOM, batch, (), node.type.rank, kind)


def _probabilities(code: Code, rank: int) -> Code:
    """[K] or [B, K] beside a draw of a rank: the classes stay last."""
    if not code.batch or not rank:
        return code
    return code.renamed(f"{code.at(ATOM)}[:, {', '.join(['None'] * rank)}]")


ARRAY_WRITERS: dict[str, Callable[[Emitter, Apply], Code]] = {
    "matmul": _matmul,
    "transpose": _transpose,
    "dot": _dot,
    "outer": _outer,
    "einsum": _einsum,
    "diag": _diag,
    "trace": _unary_matrix,
    "det": _unary_matrix,
    "logabsdet": _unary_matrix,
    "inverse": _unary_matrix,
    "linear_solve": _linear_solve,
    "cov": _cov,
    "concat": _concat,
    "stack": _stack,
    "reshape": _reshape,
    "gather": _gather,
    "onehot": _onehot,
    "top_softmax": _top_softmax,
    "zeros": _constructor,
    "ones": _constructor,
    "identity": _constructor,
    "normal": _distribution,
    "uniform": _distribution,
    "bernoulli": _distribution,
    "categorical": _distribution,
}
