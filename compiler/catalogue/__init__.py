"""Every diagnostic there is: one class per code, in the modules of this package."""

from __future__ import annotations

from ebmlang.compiler.diagnostics import Diagnostic


def all_diagnostics() -> tuple[type[Diagnostic], ...]:
    """The classes of all codes, by code."""
    from ebmlang.compiler.catalogue import (
        later,
        model,
        names,
        nets,
        parts,
        recurrences,
        shapes,
        syntax,
        training,
        types,
        values,
    )

    modules = (syntax, names, types, values, shapes, model, recurrences, parts, nets, training, later)
    found = {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Diagnostic) and kind is not Diagnostic
    }
    return tuple(sorted(found, key=lambda kind: kind.code))
