"""Typed expressions to PyTorch text."""

from __future__ import annotations

from dataclasses import dataclass, field

from ebmlang.compiler import typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.codegen.canonical import Canonical
from ebmlang.compiler.codegen.layout import (
    ATOM,
    SUM,
    UNARY,
    Code,
    Layout,
    align,
    comment,
    layout_of,
    size_text,
    wrapped_size,
)
from ebmlang.compiler.codegen.picks import Picks
from ebmlang.compiler.codegen.writers import write_apply
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.typed import Apply, Expr, Fold, Level, Read

_LONGEST = 88
"""An expression whose text grows beyond this is given a name of its own."""


@dataclass(slots=True)
class Emitter:
    """Writes the body of one function.

    `available` maps names of variables and lets to what they are called here; `hoisted` maps
    canonical nodes (by id) to names computed elsewhere; `let_values` gives the lets that may be
    computed on demand.
    """

    canonical: Canonical
    available: dict[str, str]
    lets: dict[str, typed.Let] = field(default_factory=dict)
    hoisted: dict[int, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    used: dict[str, None] = field(default_factory=dict)
    sizes: set[str] = field(default_factory=set)
    clamps: int = 0
    index_names: dict[tuple[object, ...], str] = field(default_factory=dict)
    index_owner: Emitter | None = None
    target: str = ""
    target_batch: bool = False
    draws: int = 0
    _codes: dict[int, Code] = field(default_factory=dict)
    _counts: dict[int, int] = field(default_factory=dict)
    _hint: str = "value"

    # --- naming ---

    def fresh(self, hint: str) -> str:
        name, suffix = hint, 2
        while name in self.names:
            name, suffix = f"{hint}_{suffix}", suffix + 1
        self.names.add(name)
        return name

    def assign(self, hint: str, code: Code, shape: tuple[Size, ...], exact: bool = False) -> Code:
        """A line `name = text`, with the shape in a comment; `exact` for a name kept free for it."""
        name = hint if exact else self.fresh(hint)
        remark = "" if code.python else f"  # {comment(code, shape)}"
        self.lines.append(f"{name} = {code.text}{remark}")
        return code.renamed(name)

    def size(self, size: Size) -> str:
        self.sizes |= size.names()
        return size_text(size)

    def wrapped(self, size: Size) -> str:
        self.sizes |= size.names()
        return wrapped_size(size)

    def count(self, *roots: Expr) -> None:
        """Count how often each node is used, so that shared ones get a name."""
        for root in roots:
            stack = [self.canonical(root)]
            while stack:
                node = stack.pop()
                seen = self._counts.get(id(node), 0)
                self._counts[id(node)] = seen + 1
                if seen == 0:
                    stack.extend(node.children())
                    if isinstance(node, Read) and node.name in self.lets and node.name not in self.available:
                        stack.append(self.canonical(self.lets[node.name].value))

    # --- plate indices: made once, in the function that prepares ---

    def request_index(self, key: tuple[object, ...], axis: typed.Axis, column: int) -> str:
        """The name of an index tensor; the preparing emitter writes the line that makes it."""
        owner = self.index_owner or self
        name = owner.index_names.get(key)
        if name is None:
            name = owner._make_index(key, axis, column)
        self.index_names[key] = name
        self.names.add(name)
        return name

    def _make_index(self, key: tuple[object, ...], axis: typed.Axis, column: int) -> str:
        if axis.guard is not None:
            return self._make_selection(axis, column)
        name = self.fresh(f"{axis.names[column]}_index")
        self.index_names[key] = name
        if axis.rows is None:
            assert axis.size is not None
            stop = self.size(axis.start + axis.size)
            text = f"torch.arange({self.size(axis.start)}, {stop}, device=self.device)"
        else:
            rows = self._emit(self.canonical(axis.rows))
            text = f"{rows.at(ATOM)}[:, {column}]" if axis.rows.type.rank == 2 else rows.text
        self.lines.append(f"{name} = {text}  # [{axis.label}]")
        return name

    def _make_selection(self, axis: typed.Axis, column: int) -> str:
        """All index tuples for which the guard holds, one tensor per index."""
        assert axis.guard is not None
        self.clamps += 1
        guard = self.materialize(axis.guard, Layout(False, axis.parents, 0))
        self.clamps -= 1
        positions = [self.fresh(f"{parent.label}_at") for parent in axis.parents]
        comma = "," if len(positions) == 1 else ""
        self.lines.append(f"{', '.join(positions)}{comma} = torch.nonzero({guard.text}, as_tuple=True)")
        at = 0
        for parent, position in zip(axis.parents, positions, strict=True):
            for own in range(len(parent.names)):
                name = self.fresh(f"{parent.names[own]}_index")
                source = self.index_name(parent, own)
                self.lines.append(f"{name} = {source}[{position}]  # [{axis.label}]")
                self.index_names["axis", axis.order, axis.label, at] = name
                at += 1
        return self.index_names["axis", axis.order, axis.label, column]

    def index_name(self, axis: typed.Axis, column: int) -> str:
        return Picks(self).index_name(axis, column)

    def checked_index(self, node: Expr, code: Code, size: Size) -> Code:
        """An index that is checked once, when values are bound, to lie inside its dimension."""
        owner = self.index_owner or self
        key = ("checked", id(self.canonical(node)), size)
        name = owner.index_names.get(key)
        if name is None:
            inner = owner._emit(self.canonical(node))
            name = owner.fresh("_".join(axis.label for axis in node.axes) + "_checked")
            shown = typed.text(node)
            owner.lines.append(
                f"{name} = functions.check_index({inner.text}, {owner.size(size)}, {shown!r})"
                f"  # {comment(code, ())}"
            )
            owner.index_names[key] = name
        self.index_names[key] = name
        self.names.add(name)
        self.used[name] = None
        return code.renamed(name)

    # --- expressions ---

    def emit(self, root: Expr, hint: str = "") -> Code:
        """The code of a value; shared and long parts become lines of their own first."""
        if hint:
            self._hint = hint
        return self._emit(self.canonical(root))

    def _emit(self, node: Expr) -> Code:
        known = self._codes.get(id(node))
        if known is not None:
            return known
        name = self.hoisted.get(id(node))
        if name is not None:
            self.used[name] = None
            code = self._named(node, name)
        else:
            code = self._write(node)
            worth = not code.python and code.strength < ATOM or "(" in code.text
            shared = self._counts.get(id(node), 0) > 1 and worth
            if shared or (len(code.text) > _LONGEST and not code.python):
                code = self.assign(self._hint_for(node), code, node.type.shape)
        self._codes[id(node)] = code
        return code

    def _hint_for(self, node: Expr) -> str:
        match node:
            case Apply(function="sub"):
                return f"{self._hint}_difference"
            case Apply(function=name) if name.isidentifier():
                return f"{self._hint}_{name}"
        return f"{self._hint}_part"

    @staticmethod
    def _named(node: Expr, name: str) -> Code:
        where = layout_of(node)
        return Code(name, ATOM, where.batch, where.axes, where.rank, node.type.kind)

    def _write(self, node: Expr) -> Code:
        match node:
            case typed.Constant(value=value):
                text = repr(value) if abs(value) != float("inf") else f"{'-' if value < 0 else ''}math.inf"
                strength = ATOM if isinstance(value, bool) or value >= 0 else UNARY
                return Code(text, strength, False, (), 0, node.type.kind, True)
            case typed.SizeOf(size=size):
                plain = size.name is not None or (size.constant or 0) > 0 or size.constant == 0
                return Code(self.size(size), ATOM if plain else SUM, False, (), 0, "int", True)
            case Read():
                return self._read(node)
            case typed.Position():
                return Picks(self).position(node)
            case typed.Pick():
                return Picks(self).pick(node)
            case typed.Pack():
                return self._pack(node)
            case Fold():
                return self._fold(node)
            case typed.Tabulate():
                return self._tabulate(node)
            case typed.OverExamples():
                return self._over_examples(node)
            case Apply():
                return self._apply(node)
        raise AssertionError(type(node).__name__)

    def _read(self, node: Read) -> Code:
        local = self.available.get(node.name)
        if local is None and node.name in self.lets:
            let = self.lets[node.name]
            outer, self._hint = self._hint, node.name
            code = self._emit(self.canonical(let.value))
            self._hint = outer
            if not code.python and code.text != node.name:
                code = self.assign(node.name, code, node.type.shape, exact=True)
            self.available[node.name] = code.text
            return code
        assert local is not None, f"`{node.name}` is not available here"
        self.used[local] = None
        where = layout_of(node)
        hyper = node.level is Level.CONSTANT and node.type.scalar
        return Code(local, ATOM, where.batch, where.axes, where.rank, node.type.kind, hyper)

    # --- operands ---

    def real(self, node: Expr) -> Code:
        """An operand of arithmetic: truth values and integers count as real numbers."""
        code = self._emit(node)
        if code.python or code.kind == "real":
            return code
        return Code(f"{code.at(ATOM)}.to(self.dtype)", ATOM, code.batch, code.axes, code.rank, "real")

    def tensor(self, code: Code) -> Code:
        """A Python number as a tensor, where only a tensor will do."""
        if not code.python:
            return code
        text = f"torch.tensor({code.text}, dtype=self.dtype, device=self.device)"
        return Code(text, ATOM, False, (), 0, code.kind)

    def materialize(self, node: Expr, target: Layout) -> Code:
        """The value with every axis of the target really there."""
        code = self.tensor(self.real(node) if node.type.kind in ("bool", "int") else self._emit(node))
        missing = [a for a in target.axes if a not in code.axes]
        if not missing and code.batch == target.batch:
            return code
        text = align(code, Layout(target.batch, target.axes, code.rank))
        dims = (["-1"] if target.batch else []) + [self._axis_size(a) for a in target.axes]
        lead = len(dims)
        text = text if code.strength == ATOM or text != code.text else f"({text})"
        full = Code(text, ATOM, target.batch, target.axes, code.rank, code.kind)
        if code.dims < lead + code.rank:
            text = f"{text}[{', '.join(['None'] * (lead + code.rank - code.dims) + ['...'])}]" if text == code.text else text
        shape = ", ".join([*dims, *["-1"] * code.rank])
        return Code(f"{text}.expand({shape})", ATOM, full.batch, full.axes, full.rank, full.kind)

    def _axis_size(self, axis: typed.Axis) -> str:
        if axis.size is not None:
            return self.size(axis.size)
        return f"{Picks(self).index_name(axis, 0)}.shape[0]"

    # --- node kinds ---

    def _pack(self, node: typed.Pack) -> Code:
        where = layout_of(node)
        inner = Layout(where.batch, where.axes, where.rank - 1)
        items = [self._emit(i) if node.type.kind != "real" else self.real(i) for i in node.items]
        if all(i.python for i in items):
            kind = {"bool": "torch.bool", "int": "torch.long"}.get(node.type.kind, "self.dtype")
            values = ", ".join(i.text for i in items)
            text = f"torch.tensor([{values}], dtype={kind}, device=self.device)"
            return Code(text, ATOM, False, (), 1, node.type.kind)
        parts = [align(self.tensor(i), inner) for i in items]
        dim = -1 - inner.rank
        if all(i.dims == items[0].dims and not i.python for i in items):
            text = f"torch.stack(({', '.join(parts)}), {dim})"
        else:
            text = f"torch.stack(torch.broadcast_tensors({', '.join(parts)}), {dim})"
        return Code(text, ATOM, where.batch, where.axes, where.rank, node.type.kind)

    def _tabulate(self, node: typed.Tabulate) -> Code:
        level = node.level is Level.EXAMPLE
        axes = (*node.axes, *node.over)
        code = self.materialize(node.body, Layout(level, axes, node.body.type.rank))
        order = {axis.order: i for i, axis in enumerate(code.axes)}
        wanted = [order[a.order] for a in axes]
        text = code.text
        if wanted != sorted(wanted):
            lead = int(code.batch)
            dims = [*range(lead), *(lead + i for i in wanted), *range(lead + len(wanted), code.dims)]
            text = f"{code.at(ATOM)}.permute({', '.join(map(str, dims))})"
        return Code(text, ATOM, level, node.axes, node.type.rank, node.type.kind)

    def _over_examples(self, node: typed.OverExamples) -> Code:
        body = self.real(node.body)
        where = layout_of(node)
        text = f"functions.over_examples_{node.function}({align(self.tensor(body), Layout(body.batch, where.axes, body.rank))}, self.batch)"
        if not body.batch:
            lead = self.tensor(body)
            text = f"functions.over_examples_{node.function}({lead.at(ATOM)}[None], self.batch)"
        return Code(text, ATOM, False, where.axes, where.rank, "real")

    def _fold(self, node: Fold) -> Code:
        body = node.body
        parts = (body,) if node.guard is None else (body, node.guard)
        axes = tuple(sorted({*typed.merge_axes(parts), *node.over}, key=lambda axis: axis.order))
        level = node.level is Level.EXAMPLE
        target = Layout(level or body.level is Level.EXAMPLE, axes, body.type.rank)
        merged_sum = self._merged_sum(node, axes)
        if merged_sum is not None:
            return merged_sum
        if node.guard is not None:
            self.clamps += 1
        code = self.materialize(body, Layout(body.level is Level.EXAMPLE, axes, body.type.rank))
        count = ""
        if node.guard is not None:
            mask = self._emit(node.guard)
            self.clamps -= 1
            neutral = {"prod": "1.0", "max": "-math.inf", "logsumexp": "-math.inf", "min": "math.inf"}
            fill = neutral.get(node.function, "0.0")
            shown = align(mask, target)
            merged = f"torch.where({shown}, {align(code, target)}, {fill})"
            code = Code(merged, ATOM, target.batch, axes, body.type.rank, code.kind)
            count = shown
        over = {a.order for a in node.over}
        where = [i for i, a in enumerate(axes) if a.order in over]
        from_end = [i - len(axes) - body.type.rank for i in where]
        dim = from_end[0] if len(from_end) == 1 else tuple(from_end)
        text = self._reduced(node.function, code, dim, count, target)
        kept = tuple(a for a in axes if a.order not in over)
        return Code(text, ATOM, code.batch, kept, body.type.rank, node.type.kind)

    def _merged_sum(self, node: Fold, axes: typed.Axes) -> Code | None:
        """The sum of sums as one sum over all their dimensions, and a factor taken out of it."""
        body = node.body
        if node.function != "sum" or node.guard is not None or not isinstance(body, Apply):
            return None
        dims = body.option("dims")
        if body.function not in ("sum", "norm_squared") or not isinstance(dims, int) or dims == 0:
            return None
        if axes != node.over:
            return None
        inner = body.arguments[0]
        code = self.materialize(inner, Layout(inner.level is Level.EXAMPLE, axes, dims))
        square = ".square()" if body.function == "norm_squared" else ""
        every = tuple(range(-dims - len(axes), 0))
        text = f"{code.at(ATOM)}{square}.sum({every})"
        return Code(text, ATOM, code.batch, (), 0, "real")

    @staticmethod
    def _reduced(function: str, code: Code, dim: int | tuple[int, ...], count: str, target: Layout) -> str:
        if function == "mean" and count:
            return f"functions.masked_mean({code.text}, {count}, {dim})"
        if function in ("prod", "all", "any"):
            return f"functions.fold_{function}({code.text}, {dim})"
        return BUILTINS[function].torch.format(code.at(ATOM), dim=dim)

    def _apply(self, node: Apply) -> Code:
        return write_apply(self, node)

    def operands(self, node: Apply, real: bool = True) -> list[Code]:
        return [self.real(a) if real else self._emit(a) for a in node.arguments]
