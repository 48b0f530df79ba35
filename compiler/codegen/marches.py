"""One step of a rollout on single numbers, for numpy: a call of it takes a fraction of one of PyTorch.

Solvers that go step by step call the step thousands of times on few rows. It is written where its states
come apart into entries and every operation is arithmetic; elsewhere steps go through PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ebmlang.compiler import typed
from ebmlang.compiler.codegen.apart import entries_apart
from ebmlang.compiler.codegen.functions import Functions
from ebmlang.compiler.codegen.layout import size_text
from ebmlang.compiler.codegen.lines import Line, Statement
from ebmlang.compiler.codegen.methods import Method
from ebmlang.compiler.codegen.names import field_name, local_name
from ebmlang.compiler.indexing import affine
from ebmlang.compiler.lifting import in_one_step
from ebmlang.compiler.sizes import BATCH, ZERO, Size
from ebmlang.compiler.typed import Apply, Carry, Expr, Level, Pack, Pick, Position, Read, Scan, SliceOf
from ebmlang.compiler.types import INT, Shape

FORMS: Mapping[str, str] = MappingProxyType(
    {
        "add": "({0} + {1})",
        "sub": "({0} - {1})",
        "mul": "({0} * {1})",
        "div": "({0} / {1})",
        "floordiv": "np.floor_divide({0}, {1})",
        "mod": "np.remainder({0}, {1})",
        "pow": "({0} ** {1})",
        "neg": "(-{0})",
        "lt": "({0} < {1})",
        "le": "({0} <= {1})",
        "gt": "({0} > {1})",
        "ge": "({0} >= {1})",
        "eq": "({0} == {1})",
        "ne": "({0} != {1})",
        "and": "np.logical_and({0}, {1})",
        "or": "np.logical_or({0}, {1})",
        "not": "np.logical_not({0})",
        "exp": "np.exp({0})",
        "log": "np.log({0})",
        "sqrt": "np.sqrt({0})",
        "square": "np.square({0})",
        "abs": "np.abs({0})",
        "sign": "np.sign({0})",
        "floor": "np.floor({0})",
        "ceil": "np.ceil({0})",
        "round": "np.round({0})",
        "sin": "np.sin({0})",
        "cos": "np.cos({0})",
        "tan": "np.tan({0})",
        "tanh": "np.tanh({0})",
        "atan2": "np.arctan2({0}, {1})",
        "relu": "np.maximum({0}, 0)",
        "maximum": "np.maximum({0}, {1})",
        "minimum": "np.minimum({0}, {1})",
        "clamp": "np.minimum(np.maximum({0}, {1}), {2})",
        "where": "np.where({0}, {1}, {2})",
        "wrap": "(np.remainder({0} + np.pi, 2 * np.pi) - np.pi)",
    }
)
"""What a step may be made of, as numpy spells it."""

_DOC = (
    "The entries of the next state, each [R], from those of the states and the action at time `t`, in numpy."
)
_ARGUMENTS = "t: int, states: Entries, action: Entries, held: Arrays"


class _BeyondError(Exception):
    """A step is made of more than arithmetic on entries."""


def step_in_numpy(functions: Functions, scan: Scan, action: typed.Variable) -> Method | None:
    """The method of a step; None where there is none."""
    if scan.guarded or any(size.constant is None for size in action.type.shape[1:]):
        return None
    canonical = functions.canonical
    try:
        apart = _all_apart(scan, functions)
        writer = _Writer(functions, apart, action)
        bodies = [canonical(body) for body in in_one_step(apart)]
        writer.count(bodies)
        entries = [_bare(writer.text(body)) for body in bodies]
    except _BeyondError:
        return None
    result = Line((), f"({', '.join(entries)}{',' * (len(entries) == 1)})")
    return Method(
        "next_entries", _ARGUMENTS, "tuple[Array, ...]", _DOC, [*writer.prologue(), *writer.lines, result]
    )


def _all_apart(scan: Scan, functions: Functions) -> Scan:
    """The recurrence with every entry of every state as a state."""
    if all(not state.body.type.rank and state.dim == 0 for state in scan.states):
        return scan
    found = entries_apart(scan, functions.canonical)
    if not found:
        raise _BeyondError
    return found[0]


@dataclass(slots=True)
class _Writer:
    """Writes numbers; `uses` counts how often each is needed, so that shared ones get a name."""

    functions: Functions
    scan: Scan
    action: typed.Variable
    lines: list[Statement] = field(default_factory=list)
    uses: dict[int, int] = field(default_factory=dict)
    known: dict[int, str] = field(default_factory=dict)
    hypers: dict[str, str] = field(default_factory=dict)

    def count(self, bodies: list[Expr]) -> None:
        stack = list(bodies)
        while stack:
            node = stack.pop()
            self.uses[id(node)] = self.uses.get(id(node), 0) + 1
            if self.uses[id(node)] == 1 and isinstance(node, Apply):
                stack.extend(node.arguments)

    def prologue(self) -> list[Statement]:
        return [Line((local,), f"self.{own}") for local, own in self.hypers.items()]

    def text(self, node: Expr) -> str:
        found = self.known.get(id(node))
        if found is None:
            found = self._write(node)
            if isinstance(node, Apply) and self.uses.get(id(node), 0) > 1:
                name = f"part_{len(self.lines)}"
                self.lines.append(Line((name,), _bare(found)))
                found = name
            self.known[id(node)] = found
        return found

    def _write(self, node: Expr) -> str:
        if node.type.rank:
            raise _BeyondError
        hoisted = self.functions.hoisted.get(id(node))
        if hoisted is not None:
            return self._held(hoisted.text, hoisted.batch, node, ())
        match node:
            case typed.Constant(value=value) if abs(value) != float("inf"):
                return repr(value)
            case typed.SizeOf(size=size):
                return self._size(size)
            case Position(axis=axis) if axis is self.scan.axis:
                return "t"
            case Carry(name=name, offset=0) if node.axis is self.scan.axis:
                which = next(k for k, s in enumerate(self.scan.states) if s.name == name)
                return f"states[{which}]"
            case Read():
                return self._read(node, node, ())
            case Pick(base=Read() as base):
                return self._read(base, node, node.subscripts)
            case Pick(base=Pick(base=Read() as base, subscripts=inner)):
                return self._read(base, node, _joined(inner, node.subscripts))
            case Pick(base=Pack(items=items), subscripts=(typed.SizeOf(size=size),)):
                return self.text(items[_number(size)])
            case Apply(function=function, arguments=arguments) if function in FORMS and not node.static:
                return FORMS[function].format(*map(self.text, arguments))
        raise _BeyondError

    def _read(self, base: Read, node: Expr, subscripts: tuple[typed.Subscript, ...]) -> str:
        graph = self.functions.graph
        variable = next((v for v in graph.variables if v.name == base.name), None)
        if variable is None:
            raise _BeyondError
        if base.name == self.action.name:
            first, *rest = subscripts
            if affine(first) != affine(self._time()) if isinstance(first, Expr) else True:
                raise _BeyondError
            return f"action[{self._flat(tuple(rest), self.action.type.shape[1:])}]"
        if variable.role == "hyper":
            if variable.type.rank:
                raise _BeyondError
            return self._hyper(base.name)
        if self.functions.depends(base):
            raise _BeyondError
        return self._held(base.name, variable.per_example, node, subscripts)

    def _held(self, name: str, batch: bool, node: Expr, subscripts: tuple[typed.Subscript, ...]) -> str:
        """A value that no step changes, at the time of the step where it has one."""
        places = [":"] if batch else []
        if node.axes and not subscripts:
            if node.axes != (self.scan.axis,):
                raise _BeyondError
            places.append("t")
        for s in subscripts:
            if not isinstance(s, Expr) or s.type.rank or affine(s) is None:
                raise _BeyondError
            places.append(self.text(s))
        while places and places[-1] == ":":
            places.pop()
        return f'held["{name}"][{", ".join(places)}]' if places else f'held["{name}"]'

    def _time(self) -> Expr:
        return Position(INT, (self.scan.axis,), Level.CONSTANT, False, self.scan.span, self.scan.axis, 0)

    def _flat(self, subscripts: tuple[typed.Subscript, ...], shape: Shape) -> int:
        """The number of an entry of the action."""
        number = 0
        if len(subscripts) != len(shape):
            raise _BeyondError
        for s, size in zip(subscripts, shape, strict=True):
            if not isinstance(s, typed.SizeOf):
                raise _BeyondError
            number = number * _number(size) + _number(s.size)
        return number

    def _hyper(self, name: str) -> str:
        self.hypers[local_name(name)] = field_name(name)
        return local_name(name)

    def _size(self, size: Size) -> str:
        if BATCH in size.names():
            raise _BeyondError
        for name in sorted(size.names()):
            self._hyper(name)
        return f"({size_text(size)})"


def _bare(text: str) -> str:
    """A value without the parentheses around all of it."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and place < len(text) - 1:
            return text
    return text[1:-1] if text.startswith("(") else text


def _joined(
    inner: tuple[typed.Subscript, ...], outer: tuple[typed.Subscript, ...]
) -> tuple[typed.Subscript, ...]:
    """The subscripts of an entry of a part, those of the part first."""
    rest, found = list(outer), []
    for s in inner:
        if isinstance(s, SliceOf):
            if s.start != ZERO or not rest:
                raise _BeyondError
            s = rest.pop(0)
        found.append(s)
    if rest or any(isinstance(s, typed.NewAxis) for s in inner):
        raise _BeyondError
    return tuple(found)


def _number(size: Size) -> int:
    if size.constant is None or size.constant < 0:
        raise _BeyondError
    return size.constant
