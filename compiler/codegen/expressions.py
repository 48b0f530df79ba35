"""Typed expressions to PyTorch text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ebmlang.compiler import typed
from ebmlang.compiler.codegen.canonical import Canonical
from ebmlang.compiler.codegen.folds import over_examples, write_fold
from ebmlang.compiler.codegen.indices import Indices
from ebmlang.compiler.codegen.layout import (
    ATOM,
    UNARY,
    Code,
    Layout,
    aligned,
    comment,
    layout_of,
    permuted,
    python_number,
    size_strength,
    size_text,
    spread,
)
from ebmlang.compiler.codegen.lines import Line, Statement
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.codegen.nests import write_solve
from ebmlang.compiler.codegen.picks import Picks
from ebmlang.compiler.codegen.scans import write_scan
from ebmlang.compiler.codegen.scatters import Scatters
from ebmlang.compiler.codegen.writers import write_apply
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.typed import Apply, Expr, Level, Read
from ebmlang.compiler.types import Kind

_LONGEST = 72
"""An expression whose text grows beyond this is given a name of its own."""

_DTYPES = {"bool": "torch.bool", "real": "self.dtype"}
_LARGEST_INTEGER = 2**53


@dataclass(slots=True)
class Emitter:
    """Writes the body of one function.

    `available` maps names of variables and lets to what they are called here; `hoisted` maps
    canonical nodes (by id) to names computed elsewhere; `lets` are computed on demand. `guards`
    counts the guards that stand around what is written.
    """

    canonical: Canonical
    depends: Dependence
    available: dict[str, str]
    lets: dict[str, typed.Let] = field(default_factory=dict)
    hoisted: dict[int, Code] = field(default_factory=dict)
    lines: list[Statement] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    used: dict[str, None] = field(default_factory=dict)
    sizes: set[str] = field(default_factory=set)
    guards: int = 0
    index_names: dict[tuple[object, ...], str] = field(default_factory=dict)
    kept_codes: dict[str, Code] = field(default_factory=dict)
    index_owner: Emitter | None = None
    target: str = ""
    target_batch: bool = False
    draws: int = 0
    loops: dict[tuple[object, ...], tuple[str, ...]] = field(default_factory=dict)
    nests: dict[tuple[object, ...], str] = field(default_factory=dict)
    loop_indices: set[str] = field(default_factory=set)
    net_results: dict[tuple[object, ...], tuple[str, ...]] = field(default_factory=dict)
    in_place: bool = False
    _codes: dict[int, Code] = field(default_factory=dict)
    _counts: dict[int, int] = field(default_factory=dict)
    _suffixes: dict[str, int] = field(default_factory=dict)
    _hint: str = "value"

    # --- names and lines ---

    def fresh(self, hint: str) -> str:
        name = hint
        while name in self.names:
            self._suffixes[hint] = self._suffixes.get(hint, 1) + 1
            name = f"{hint}_{self._suffixes[hint]}"
        self.names.add(name)
        return name

    def line(self, targets: tuple[str, ...], value: str, remark: str = "") -> None:
        self.lines.append(Line(targets, value, remark))

    def assign(self, hint: str, code: Code, shape: tuple[Size, ...], exact: bool = False) -> Code:
        """A line `name = text`, with the shape in a comment; `exact` for a name kept free for it."""
        name = hint if exact else self.fresh(hint)
        self.line((name,), code.text, "" if code.python else comment(code, shape))
        return code.renamed(name)

    def size(self, size: Size) -> str:
        self.sizes |= size.names()
        return size_text(size)

    def count(self, *roots: Expr) -> None:
        """Count how often each node is used, so that shared ones get a name."""
        for root in roots:
            stack = [self.canonical(root)]
            while stack:
                node = stack.pop()
                seen = self._counts.get(id(node), 0)
                self._counts[id(node)] = seen + 1
                if seen == 0 and id(node) not in self.hoisted:
                    stack.extend(node.children())
                    if isinstance(node, Read) and node.name in self.lets and node.name not in self.available:
                        stack.append(self.canonical(self.lets[node.name].value))

    @property
    def indices(self) -> Indices:
        return Indices(self)

    @contextmanager
    def guarded(self, guard: Expr | None) -> Iterator[None]:
        """Inside, subscripts that only the guard keeps in range are limited to it."""
        self.guards += guard is not None
        yield
        self.guards -= guard is not None

    def hint(self, name: str) -> None:
        """What the parts of the next value are named after."""
        self._hint = name

    # --- expressions ---

    def emit(self, root: Expr, hint: str = "") -> Code:
        """The code of a whole value; shared and long parts become lines of their own first."""
        if hint:
            self._hint = hint
        return self._whole(self.canonical(root))

    def _whole(self, node: Expr) -> Code:
        """A value that gets a name anyhow, however long it is."""
        if id(node) in self._codes or id(node) in self.hoisted or self._counts.get(id(node), 0) > 1:
            return self.code(node)
        self._codes[id(node)] = code = self._write(node)
        return code

    def written_here(self, node: Expr) -> bool:
        """Whether a part has no name and no other use, so that its parent may write it in its own way."""
        known = id(node) in self._codes or id(node) in self.hoisted
        return not known and self._counts.get(id(node), 0) <= 1

    def code(self, root: Expr) -> Code:
        """The code of a part of the value that is being written."""
        node = self.canonical(root)
        known = self._codes.get(id(node))
        if known is not None:
            return known
        ready = self.hoisted.get(id(node))
        if ready is not None:
            self.used[ready.text] = None
        code = ready or self._named(node, self._write(node))
        self._codes[id(node)] = code
        return code

    def _named(self, node: Expr, code: Code) -> Code:
        """What is long, or computed and used several times, gets a line of its own."""
        if code.python:
            return code
        computed = code.strength < ATOM or "(" in code.text
        shared = self._counts.get(id(node), 0) > 1 and computed
        if shared or len(code.text) > _LONGEST:
            return self.assign(self._hint_for(node), code, node.type.shape)
        return code

    def _hint_for(self, node: Expr) -> str:
        match node:
            case Apply(function="sub"):
                return f"{self._hint}_difference"
            case Apply(function=name) if name.isidentifier():
                return f"{self._hint}_{name}"
        return f"{self._hint}_part"

    def _write(self, node: Expr) -> Code:
        match node:
            case typed.Constant(value=value):
                text = repr(value) if abs(value) != float("inf") else f"{'-' if value < 0 else ''}math.inf"
                negative = not isinstance(value, bool) and text.startswith("-")
                return python_number(text, node.type.kind, UNARY if negative else ATOM)
            case typed.SizeOf(size=size):
                return python_number(self.size(size), "int", size_strength(size))
            case Read():
                return self._read(node)
            case typed.Position():
                return self.indices.position(node)
            case typed.Pick():
                return Picks(self).pick(node)
            case typed.Pack():
                return self._pack(node)
            case typed.Scatter():
                return Scatters(self).whole(node)
            case typed.Fold():
                return write_fold(self, node)
            case typed.Tabulate():
                return self._tabulate(node)
            case typed.OverExamples():
                return over_examples(self, node)
            case typed.Scan():
                return write_scan(self, node)
            case typed.Solve():
                return write_solve(self, node)
            case Apply():
                return write_apply(self, node)
        raise AssertionError(type(node).__name__)

    def _read(self, node: Read) -> Code:
        local = self.available.get(node.name)
        if local is None and node.name in self.lets:
            let = self.lets[node.name]
            outer, self._hint = self._hint, local_name(node.name)
            code = self._whole(self.canonical(let.value))
            self._hint = outer
            if code.python:
                return code
            if code.text != local_name(node.name):
                code = self.assign(local_name(node.name), code, node.type.shape, exact=True)
            return code
        assert local is not None, f"`{node.name}` is not available here"
        self.used[local] = None
        where = layout_of(node)
        number = node.level is Level.CONSTANT and node.type.scalar and node.name not in self.lets
        return Code(local, ATOM, where.batch, where.axes, where.rank, node.type.kind, number)

    # --- operands ---

    def real(self, node: Expr) -> Code:
        """An operand of arithmetic: truth values and integers count as real numbers."""
        if isinstance(node, typed.Position):
            return self.indices.position(node, real=True)
        code = self.code(node)
        real = self.converted(code, "real")
        if real is not code and not code.python and id(self.canonical(node)) in self.hoisted:
            key = ("real", id(self.canonical(node)))
            return self.indices.kept(key, node, "real", real, "{}.to(self.dtype)") or real
        return real

    def of_kind(self, node: Expr, kind: Kind) -> Code:
        """An operand of a function whose result is of this kind."""
        return self.real(node) if kind == "real" else self.converted(self.code(node), kind)

    def converted(self, code: Code, kind: str) -> Code:
        """The same numbers, as entries of another kind."""
        if code.kind == kind or {code.kind, kind} == {"int", "class"}:
            return code
        if code.python:
            return _python_converted(code, kind)
        match kind:
            case "real":
                text = f"{code.at(ATOM)}.to(self.dtype)"
            case "bool":
                text = f"{code.at(ATOM)}.bool()"
            case _:
                text = f"{code.at(ATOM)}.long()"
        return Code(text, ATOM, code.batch, code.axes, code.rank, kind)

    def tensor(self, code: Code) -> Code:
        """A Python number as a tensor, where only a tensor will do."""
        if not code.python:
            return code
        dtype = _DTYPES.get(code.kind, "torch.long")
        text = f"torch.tensor({code.text}, dtype={dtype}, device=self.device)"
        return Code(text, ATOM, False, (), 0, code.kind)

    def expanded(self, code: Code, target: Layout) -> Code:
        """The value with every axis of the target really there."""
        code = self.tensor(code)
        own = {axis.order for axis in code.axes}
        if code.batch == target.batch and all(axis.order in own for axis in target.axes):
            return code
        full = spread(code, target)
        lead = int(target.batch) + len(target.axes)
        if full.dims == 0 and code.text == full.text:
            full = code
        dims = ["-1"] if target.batch else []
        dims += ["-1" if axis.order in own else self.indices.count(axis) for axis in target.axes]
        shape = ", ".join([*dims, *["-1"] * code.rank])
        text = f"{full.at(ATOM)}.expand({shape})" if lead else full.text
        return Code(text, ATOM, target.batch, target.axes, code.rank, code.kind)

    # --- node kinds ---

    def _pack(self, node: typed.Pack) -> Code:
        where = layout_of(node)
        kind = node.type.kind
        items = [self.of_kind(i, kind) for i in node.items]
        if all(i.python for i in items):
            values = ", ".join(i.text for i in items)
            text = f"torch.tensor([{values}], dtype={_DTYPES.get(kind, 'torch.long')}, device=self.device)"
            return Code(text, ATOM, False, (), 1, kind)
        text = self.stacked(items, Layout(where.batch, where.axes, where.rank - 1))
        return Code(text, ATOM, where.batch, where.axes, where.rank, kind)

    def stacked(self, items: list[Code], inner: Layout) -> str:
        """Items along a new dimension in front of the declared ones."""
        parts = [aligned(self.tensor(i), inner).text for i in items]
        dim = -1 - inner.rank
        if even(items):
            return f"torch.stack(({', '.join(parts)}{',' * (len(parts) == 1)}), {dim})"
        return f"torch.stack(torch.broadcast_tensors({', '.join(parts)}), {dim})"

    def _tabulate(self, node: typed.Tabulate) -> Code:
        axes = (*node.axes, *node.over)
        body = self.of_kind(node.body, node.type.kind)
        level = node.level is Level.EXAMPLE or body.batch  # a draw has a row for each example
        ordered = tuple(sorted(axes, key=lambda axis: axis.order))
        code = self.expanded(body, Layout(level, ordered, node.body.type.rank))
        code = permuted(code, axes)
        return Code(code.text, code.strength, level, node.axes, node.type.rank, code.kind)


def even(items: list[Code]) -> bool:
    """Whether tensors have the same sizes for sure: one row of examples may stand for all of them."""
    first = items[0]
    same = all(not i.python and i.axes == first.axes and i.batch == first.batch for i in items)
    return same and (not first.batch or len(items) == 1)


def _python_converted(code: Code, kind: str) -> Code:
    if code.text in ("True", "False") and kind in ("int", "real"):
        number = "1" if code.text == "True" else "0"
        return python_number(number if kind == "int" else f"{number}.0", kind)
    if kind == "real":
        plain = code.kind == "int" and not (code.text.isdecimal() and int(code.text) >= _LARGEST_INTEGER)
        return replace(code, kind="real") if plain else python_number(f"float({code.text})", kind)
    return python_number(f"{'bool' if kind == 'bool' else 'int'}({code.text})", kind)
