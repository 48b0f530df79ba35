"""Bodies of the generated methods: their prologue, their lines, their results."""

from __future__ import annotations

import keyword
from dataclasses import dataclass, field

from ebmlang.compiler import typed
from ebmlang.compiler.codegen.canonical import Canonical
from ebmlang.compiler.codegen.expressions import Emitter
from ebmlang.compiler.codegen.layout import Code, comment
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.indexing import affine
from ebmlang.compiler.typed import Apply, Expr, Fold, Level, Pick, Read

_TAKEN = frozenset({"self", "torch", "math", "F", "functions", "unknown", "held", "energies", "prepared"})


def local_name(name: str) -> str:
    """The Python name of a variable inside generated functions."""
    return f"{name}_" if keyword.iskeyword(name) or name in _TAKEN else name


def simplified(node: Expr) -> Expr:
    """A sum over a plate with factors that do not vary along it taken out."""
    if not (isinstance(node, Fold) and node.function == "sum" and node.guard is None):
        return node
    body = node.body
    if isinstance(body, Apply) and body.function in ("mul", "div") and len(body.arguments) == 2:
        a, b = body.arguments
        if body.function == "mul" and not a.axes and a.type.scalar:
            return typed.rebuilt(body, (a, simplified(_over(node, b))))
        if not b.axes and b.type.scalar:
            return typed.rebuilt(body, (simplified(_over(node, a)), b))
    if isinstance(body, Apply) and body.function == "neg":
        return typed.rebuilt(body, (simplified(_over(node, body.arguments[0])),))
    return node


def _over(node: Fold, body: Expr) -> Expr:
    if not body.axes:
        return node if body is node.body else Fold(
            body.type, (), body.level, body.coupled, node.span, "sum", body, node.over, None
        )
    return Fold(
        body.type,
        tuple(a for a in body.axes if a not in node.over),
        body.level,
        body.coupled,
        node.span,
        "sum",
        body,
        node.over,
        None,
    )


@dataclass(slots=True)
class Functions:
    """Writes the methods of one generated class; what they share lives here.

    `prepare` holds the emitter of the values that do not depend on the sought block.
    """

    graph: FactorGraph
    depends: Dependence
    canonical: Canonical = field(default_factory=Canonical)
    prepare: Emitter = field(init=False)
    held_rows: set[str] = field(default_factory=set)
    hoisted: dict[int, str] = field(default_factory=dict)
    results: dict[str, Code] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prepare = self._emitter(self._given())

    # --- names that a function can read ---

    def _given(self) -> dict[str, str]:
        names = {v.name: local_name(v.name) for v in self.graph.variables}
        return {n: local for n, local in names.items() if n not in self.depends.sought}

    def _everything(self) -> dict[str, str]:
        return {v.name: local_name(v.name) for v in self.graph.variables}

    def _emitter(self, available: dict[str, str]) -> Emitter:
        names = set(available.values()) | {local_name(let) for let in self.graph.lets} | set(_TAKEN)
        names |= {v.name for v in self.graph.model.hypers}
        return Emitter(self.canonical, dict(available), self.graph.lets, names=names)

    # --- hoisting ---

    def hoist(self, roots: list[tuple[str, Expr]]) -> None:
        """Give a name in `prepare` to every largest part that does not depend on the block."""
        self.prepare.count(*(root for _, root in roots))
        for hint, root in roots:
            self._hoist(self.canonical(root), hint, set())

    def _hoist(self, node: Expr, hint: str, seen: set[int]) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if not self.depends(node):
            self._prepare(node, hint)
            return
        if isinstance(node, Read) and node.name in self.graph.lets:
            self._hoist(self.canonical(self.graph.lets[node.name].value), node.name, seen)
        for child in node.children():
            if not (isinstance(node, Pick) and child is not node.base and _runs_along(child)):
                self._hoist(child, hint, seen)

    def _prepare(self, node: Expr, hint: str) -> None:
        if id(node) in self.hoisted or _is_leaf(node, self.graph) or node.type.kind == "error":
            return
        e = self.prepare
        let = node.name if isinstance(node, Read) else ""
        code = e.emit(node, hint)
        if code.python or (code.text in e.available.values() and not let):
            return
        if code.text not in e.names:
            code = e.assign(_hoisted_name(node, hint), code, node.type.shape)
        self.hoisted[id(node)] = code.text
        self.results[code.text] = code

    # --- methods ---

    def method(self) -> Emitter:
        """An emitter for a function of the unknowns and the held values."""
        e = self._emitter(self._everything())
        e.hoisted = self.hoisted
        e.names |= set(self.hoisted.values()) | set(self.prepare.index_names.values())
        e.index_owner = self.prepare
        return e

    def standalone(self, target: str, target_batch: bool) -> Emitter:
        """An emitter for a function of values that are already known (starts, bounds)."""
        e = self._emitter(self._everything())
        e.target, e.target_batch = target, target_batch
        return e

    def prologue(self, e: Emitter, sought_from_unknown: bool = True) -> list[str]:
        """Local names for everything that the lines of a function use."""
        lines = []
        hypers = {v.name: v for v in self.graph.model.hypers}
        sizes = sorted(e.sizes)
        scalars = [n for n, v in hypers.items() if v.type.scalar and v.type.kind != "int" and local_name(n) in e.used]
        lines += [f"{local_name(n)} = self.{local_name(n)}" for n in (*sizes, *scalars)]
        for v in self.graph.variables:
            name = local_name(v.name)
            if name not in e.used or v.name in scalars:
                continue
            unknown = sought_from_unknown and v.name in self.depends.sought
            code = Code(name, 9, v.per_example, (), v.type.rank, v.type.kind)
            source = "unknown" if unknown else "held"
            lines.append(f'{name} = {source}["{v.name}"]  # {comment(code, v.type.shape)}')
        shared = set(self.prepare.index_names.values()) | set(self.results)
        for name in e.used:
            if name in shared and e is not self.prepare:
                known = self.results.get(name)
                remark = f"  # {comment(known, ())}" if known is not None and known.rank == 0 else ""
                lines.append(f'{name} = held["{name}"]{remark}')
        return lines

    def used_indices(self, emitters: list[Emitter]) -> list[str]:
        names = set(self.prepare.index_names.values())
        return [n for n in dict.fromkeys(u for e in emitters for u in e.used) if n in names]

    def row_values(self) -> tuple[str, ...]:
        """Names of held values that differ by example."""
        own = [v.name for v in self.graph.variables if v.per_example and v.role != "hyper"]
        return (*own, *(name for name, code in self.results.items() if code.batch))


def _is_leaf(node: Expr, graph: FactorGraph) -> bool:
    """Whether a value is there without any computing."""
    if isinstance(node, Read):
        return node.name not in graph.lets
    return isinstance(node, typed.Constant | typed.SizeOf | typed.Position)


def _runs_along(subscript: Expr) -> bool:
    """Whether a subscript is written as a slice, so that no index tensor is needed."""
    form = affine(subscript)
    return form is not None and len(form[0]) <= 1 and all(step > 0 for _, step in form[0])


def _hoisted_name(node: Expr, hint: str) -> str:
    names = sorted(typed.reads(node))
    base = "_".join(names[:2]) if 0 < len(names) <= 2 else hint
    return f"{base}_{'rows' if node.level is Level.EXAMPLE else 'fixed'}"
