"""Where a variable lies: its domain and shape as a set."""

from __future__ import annotations

from ebmlang.compiler import typed
from ebmlang.compiler.domains import Domain
from ebmlang.compiler.latex.expressions import Printer
from ebmlang.compiler.latex.symbols import size_latex
from ebmlang.compiler.sizes import ONE
from ebmlang.compiler.typed import Variable
from ebmlang.compiler.types import Shape, Type

_SETS = {
    "nonnegative": {"real": "\\mathbb{R}_{\\ge 0}", "int": "\\mathbb{N}"},
    "positive": {"real": "\\mathbb{R}_{\\gt 0}", "int": "\\mathbb{N}_{\\gt 0}"},
}


def membership(printer: Printer, variable: Variable) -> str:
    """`z \\in R^k`."""
    name = printer.names[variable.name].at()
    return f"{name} \\in {set_of(printer, variable.type, variable.domain, name)}"


def set_of(printer: Printer, type_: Type, domain: Domain, name: str) -> str:
    shape = type_.shape
    match domain.name:
        case "reals":
            return power(kind_set(type_), shape)
        case "interval":
            lo, hi = (printer.value(a) for a in domain.arguments)
            entries = f"[{lo}, {hi}]"
            if any(a.type.shape for a in domain.arguments) or type_.kind == "int":
                return f"{entries} \\cap {power(kind_set(type_), shape)}"
            return power(entries, shape)
        case "nonnegative" | "positive":
            return power(_SETS[domain.name][type_.kind], shape)
        case "simplex" | "sparse_simplex":
            simplex = f"\\Delta_{{{size_latex(shape[-1])}}}"
            if domain.arguments:
                simplex += f"^{{({printer.value(domain.arguments[0])})}}"
            if domain.where is None or not typed.reads(domain.where):
                return power(simplex, shape[:-1])
            entries = printer.condition(domain.where, None).text
            return f"{power(simplex, shape[:-1])},\\ {name} = 0 \\text{{ outside }} {entries}"
        case "sphere":
            return power(f"\\mathbb{{S}}^{{{size_latex(shape[-1] - ONE)}}}", shape[:-1])
        case "stiefel":
            return power(f"\\mathrm{{St}}({size_latex(shape[-2])}, {size_latex(shape[-1])})", shape[:-2])
        case "unit_columns":
            columns = f"{name}_{{:, j}}"
            return f"{power(kind_set(type_), shape)},\\ \\lVert {columns} \\rVert = 1"
        case "psd":
            return power(f"\\mathbb{{S}}_{{+}}^{{{size_latex(shape[-1])}}}", shape[:-2])
        case "positive_definite":
            return power(f"\\mathbb{{S}}_{{++}}^{{{size_latex(shape[-1])}}}", shape[:-2])
        case "permutation":
            return power(f"\\mathrm{{Sym}}({size_latex(shape[-1])})", shape[:-1])
        case "SO3" | "SE2":
            group = f"\\mathrm{{{domain.name[:2]}}}({domain.name[2]})"
            return power(group, shape[: -domain.rule.rank])
    arguments = f"({', '.join(printer.value(a) for a in domain.arguments)})" if domain.arguments else ""
    return f"\\mathrm{{{domain.name}}}{arguments} \\subset {power(kind_set(type_), shape)}"


def kind_set(type_: Type) -> str:
    """The set of one entry."""
    match type_.kind:
        case "bool":
            return "\\lbrace 0, 1 \\rbrace"
        case "int":
            return "\\mathbb{Z}"
        case "class" if type_.classes is not None:
            last = size_latex(type_.classes - ONE)
            between = "" if last == "1" else "\\dots, "
            return f"\\lbrace 0, {between}{last} \\rbrace"
    return "\\mathbb{R}"


def power(entries: str, shape: Shape) -> str:
    """The set of arrays with entries in a set."""
    if not shape:
        return entries
    exponent = " \\times ".join(
        size_latex(s) if len(s.terms) < 2 or len(shape) == 1 else f"({size_latex(s)})" for s in shape
    )
    base = f"({entries})" if "^" in entries else entries
    return f"{base}^{{{exponent}}}"
