"""What generated text may contain: no loops, no calls but those of the tables, names of its own."""

from __future__ import annotations

import ast

WIDTH = 100

_ROOTS = {"torch", "F", "functions", "math", "self", "unknown", "held", "energies"}
_BUILTIN_CALLS = {"abs", "bool", "float", "frozenset", "int", "max", "min", "slice", "SystemExit", "run_file"}
_TABLE_CALLS = {"ConstraintSpec", "Requirement", "Size", "TermSpec", "VariableSpec", "dataclass"}
_TABLE_CALLS |= {"Condition", "Coupling", "LiftedPattern", "Running"}
_TABLE_CALLS |= {"as_index", "computed", "entry", "examples", "table"}
_ALLOWED = (
    ast.Module,
    ast.Expr,
    ast.Constant,
    ast.ImportFrom,
    ast.Import,
    ast.alias,
    ast.Assign,
    ast.AnnAssign,
    ast.ClassDef,
    ast.FunctionDef,
    ast.arguments,
    ast.arg,
    ast.Return,
    ast.Name,
    ast.Attribute,
    ast.Call,
    ast.keyword,
    ast.Subscript,
    ast.Slice,
    ast.Tuple,
    ast.List,
    ast.Dict,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.If,
    ast.Raise,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.expr_context,
)


def check_text(text: str) -> ast.Module:
    """Parse generated text, and refuse whatever a model must not be able to put there."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        assert isinstance(node, _ALLOWED), f"{type(node).__name__} in generated text"
        if isinstance(node, ast.Call):
            _check_call(node)
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("__"), node.attr
    ifs = [n for n in ast.walk(tree) if isinstance(n, ast.If)]
    assert len(ifs) == 1, "the only condition is the one that makes the file a program"
    return tree


def _check_call(node: ast.Call) -> None:
    root: ast.expr = node.func
    if isinstance(root, ast.Name):
        assert root.id in _BUILTIN_CALLS | _TABLE_CALLS, f"a call of {root.id}"
        return
    assert isinstance(root, ast.Attribute), ast.dump(root)
    while isinstance(root, ast.Attribute):
        root = root.value
    if isinstance(root, ast.Name) and root.id in ("torch", "F", "functions", "math"):
        return
    # A method of a tensor: on a local value, or on the result of another call.
    assert isinstance(root, ast.Name | ast.Call | ast.BinOp | ast.UnaryOp | ast.Subscript | ast.Compare), (
        ast.dump(root)
    )
