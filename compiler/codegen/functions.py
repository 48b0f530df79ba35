"""Bodies of the generated methods: their prologue, their lines, their results."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ebmlang.compiler import typed
from ebmlang.compiler.codegen.canonical import Canonical
from ebmlang.compiler.codegen.expressions import Emitter
from ebmlang.compiler.codegen.layout import ATOM, Code, comment
from ebmlang.compiler.codegen.lines import Line, Statement
from ebmlang.compiler.codegen.names import field_name, local_name
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.indexing import affine
from ebmlang.compiler.sizes import BATCH
from ebmlang.compiler.typed import Apply, Expr, Fold, Level, Pick, Read, Scatter


def simplified(node: Expr) -> Expr:
    """A sum over a plate with factors that do not vary along it taken out."""
    if not (isinstance(node, Fold) and node.function == "sum" and node.guard is None):
        return node
    body = node.body
    if not isinstance(body, Apply) or body.type.kind != "real":
        return node
    match body.function, body.arguments:
        case "mul", (a, b) if not a.axes and a.type.scalar and b.axes:
            return typed.rebuilt(body, (a, simplified(_over(node, b))))
        case "mul" | "div", (a, b) if not b.axes and b.type.scalar and a.axes:
            return typed.rebuilt(body, (simplified(_over(node, a)), b))
        case "neg", (a,):
            return typed.rebuilt(body, (simplified(_over(node, a)),))
    return node


def _over(node: Fold, body: Expr) -> Fold:
    axes = tuple(a for a in body.axes if a not in node.over)
    return replace(node, type=body.type, axes=axes, level=body.level, coupled=body.coupled, body=body)


@dataclass(slots=True)
class Functions:
    """Writes the methods of one generated class; what they share lives here.

    `prepare` holds the emitter of the values that do not depend on the sought block, `results`
    what it computes for the other methods.
    """

    graph: FactorGraph
    depends: Dependence
    canonical: Canonical = field(default_factory=Canonical)
    prepare: Emitter = field(init=False)
    hoisted: dict[int, Code] = field(default_factory=dict)
    results: dict[str, Code] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        names = {v.name: local_name(v.name) for v in self.graph.variables}
        self.prepare = self._emitter({n: own for n, own in names.items() if n not in self.depends.sought})

    def _everything(self) -> dict[str, str]:
        return {v.name: local_name(v.name) for v in self.graph.variables}

    def _emitter(self, available: dict[str, str]) -> Emitter:
        names = {local_name(v.name) for v in self.graph.variables}
        names |= {local_name(name) for name in self.graph.lets}
        names |= {local_name(factor.name) for factor in self.graph.factors}
        names |= {local_name(limit.name) for limit in self.graph.limits}
        return Emitter(self.canonical, self.depends, available, self.graph.lets, names=names)

    # --- hoisting ---

    def hoist(self, roots: list[tuple[str, Expr]], derived: list[tuple[str, Expr]], guarded: bool) -> None:
        """Give a name in `prepare` to every largest part that does not depend on the block.

        What is `derived` has no guards around it any more: `guarded` says that there were some, so that
        subscripts in it need not be in range.
        """
        self.prepare.count(*(root for _, root in (*roots, *derived)))
        for hint, root in roots:
            self._hoist(self.canonical(root), hint)
        self.prepare.guards += guarded
        for hint, root in derived:
            self._hoist(self.canonical(root), hint)
        self.prepare.guards -= guarded

    def _hoist(self, node: Expr, hint: str) -> None:
        if id(node) in self._seen:
            return
        self._seen.add(id(node))
        if not self.depends(node):
            self._prepare(node, hint)
            return
        if isinstance(node, Read) and node.name in self.graph.lets:
            self._hoist(self.canonical(self.graph.lets[node.name].value), local_name(node.name))
        with self.prepare.guarded(_guard_of(node)):
            for child in node.children():
                # An index is made where it is used: it may turn out to be a slice.
                if not (_indexes(node, child) and _light(child)):
                    self._hoist(child, hint)

    def _prepare(self, node: Expr, hint: str) -> None:
        if id(node) in self.hoisted or _is_leaf(node, self.graph):
            return
        e = self.prepare
        code = e.emit(node, hint)
        if code.python or code.text in e.available.values():
            return
        if not (code.text.isidentifier() and code.text in e.names):
            code = e.assign(_hoisted_name(node, hint), code, node.type.shape)
        self.hoisted[id(node)] = code
        self.results[code.text] = code

    # --- methods ---

    def method(self) -> Emitter:
        """An emitter for a function of the unknowns and the held values."""
        e = self._emitter(self._everything())
        e.hoisted = self.hoisted
        e.names |= set(self.results) | self.prepare.names
        e.index_owner = self.prepare
        e.loop_indices = set(self.prepare.loop_indices)
        return e

    def standalone(self, target: str, target_batch: bool) -> Emitter:
        """An emitter for a function of values that are already known (starts, bounds)."""
        e = self._emitter(self._everything())
        e.target, e.target_batch = target, target_batch
        return e

    def prologue(self, e: Emitter, sought_from_unknown: bool = True) -> list[Statement]:
        """Local names for everything that the lines of a function may use."""
        lines: list[Statement] = []
        for v in self.graph.variables:
            name = local_name(v.name)
            if v.role == "hyper" and v.type.scalar:
                if name in e.used or v.name in e.sizes:
                    lines.append(Line((name,), f"self.{field_name(v.name)}"))
            elif name in e.used:
                source = "unknown" if sought_from_unknown and v.name in self.depends.sought else "held"
                code = Code(name, ATOM, v.per_example, (), v.type.rank, v.type.kind)
                lines.append(Line((name,), f'{source}["{v.name}"]', comment(code, v.type.shape)))
        if BATCH in e.sizes:
            lines.append(Line((BATCH,), "functions.all_examples(self.batch)"))
        if e.index_owner is not None:  # what stands alone makes its indices itself
            shared = set(self.prepare.index_names.values()) | set(self.results)
            lines += [Line((name,), f'held["{name}"]') for name in e.used if name in shared]
        return lines

    def prepared(self, wanted: frozenset[str]) -> tuple[list[Statement], list[str]]:
        """The lines of `prepare` and what it returns: the values that other methods read."""
        e = self.prepare
        names = dict.fromkeys([*self.results, *e.index_names.values()])
        kept = [n for n in names if n in wanted]
        entries = ", ".join(f'"{n}": {n}' for n in kept)
        return [*self.prologue(e), *e.lines, Line((), f"{{{entries}}}")], kept

    def row_values(self, kept: list[str]) -> tuple[str, ...]:
        """Names of held values that differ by example."""
        own = [v.name for v in self.graph.variables if v.per_example and v.role != "hyper"]
        codes = {**self.results, **self.prepare.kept_codes}
        return (*own, *(name for name in kept if name in codes and codes[name].batch))


def _guard_of(node: Expr) -> Expr | None:
    """What keeps the subscripts of a part in range."""
    if isinstance(node, typed.Scan):
        return node if node.guarded else None
    return node.guard if isinstance(node, Fold) else None


def _is_leaf(node: Expr, graph: FactorGraph) -> bool:
    """Whether a value is there without any computing."""
    if isinstance(node, Read):
        return node.name not in graph.lets
    return isinstance(node, typed.Constant | typed.SizeOf | typed.Position)


def _indexes(node: Expr, child: Expr) -> bool:
    """Whether a child stands among the subscripts of its node."""
    if isinstance(node, Pick):
        return child is not node.base
    return isinstance(node, Scatter) and child is not node.value


def _light(subscript: Expr) -> bool:
    """Whether a subscript is computed from indices and sizes alone."""
    return affine(subscript) is not None


def _hoisted_name(node: Expr, hint: str) -> str:
    names = sorted(typed.reads(node))
    base = "_".join(local_name(n) for n in names[:2]) if 0 < len(names) <= 2 else hint
    return f"{base}_{'rows' if node.level is Level.EXAMPLE else 'fixed'}"
