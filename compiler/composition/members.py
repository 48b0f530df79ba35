"""`part.name` in expressions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler import ast
from ebmlang.compiler.catalogue.parts import UnknownMember
from ebmlang.compiler.composition.names import cell_name, inner_name
from ebmlang.compiler.scope import Bound, PartEntry, Scope, declared_at
from ebmlang.compiler.typed import Expr

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions


@dataclass(frozen=True, slots=True)
class Members:
    """Reads names of parts, seen from one scope."""

    checker: Expressions
    scope: Scope

    def member(self, node: ast.Attribute) -> Expr | None:
        """The value of `part.name` or `part[l].name`; None where the base is no part."""
        names, base = [node.name.text], node.base
        while isinstance(base, ast.Attribute):
            names.append(base.name.text)
            base = base.base
        subscripts: tuple[ast.Expr | ast.Slice, ...] = ()
        if isinstance(base, ast.Index):
            subscripts, base = base.subscripts, base.base
        if not isinstance(base, ast.Name):
            return None
        entry = self.scope.find(base.text)
        if not isinstance(entry, PartEntry):
            return None
        member = ".".join(reversed(names))
        if subscripts and self._own_indices(subscripts):
            local = self.scope.find(cell_name(base.text, member))
            if isinstance(local, Bound):
                self.checker.expansions += 1
                return local.value
        name = inner_name(base.text, member)
        if self.scope.find(name) is None:
            return self._unknown(node, base.text, member, entry)
        read = ast.Name(name, node.span)
        return self.checker.check(ast.Index(read, subscripts, node.span) if subscripts else read, self.scope)

    def _own_indices(self, subscripts: tuple[ast.Expr | ast.Slice, ...]) -> bool:
        """Whether the subscripts are the indices of the plates around, in order."""
        own = [n for axis in self.scope.axes for n in axis.names]
        return [s.text if isinstance(s, ast.Name) else "" for s in subscripts] == own

    def _unknown(self, node: ast.Attribute, part: str, member: str, entry: PartEntry) -> Expr | None:
        """The name is not there; `part.name.T` is the transpose of one that is."""
        inner = node.base
        if node.name.text == "T" and isinstance(inner, ast.Attribute):
            return None
        prefix = inner_name(part, "")
        known = tuple(n[len(prefix) :] for n in self.scope.names() if n.startswith(prefix))
        places = declared_at(entry, f"`{part}` is a part, `{entry.model}`")
        self.checker.report.add(UnknownMember(node.span, part, member, known, places))
        return self.checker.error(node.span)
