"""Names of the model as Python names.

The mapping gives every name of the language a Python identifier of its own, and only those
identifiers reach generated text. A plain name stays as it is; any other ends in an underscore,
and a plain name never does, so two names cannot meet.
"""

from __future__ import annotations

import keyword
import unicodedata
from functools import cache

_TAKEN = frozenset(
    [
        "self",
        "torch",
        "math",
        "F",
        "functions",
        "unknown",
        "held",
        "states",
        "energies",
        "total",
        "abs",
        "bool",
        "dict",
        "float",
        "frozenset",
        "int",
        "max",
        "min",
        "range",
        "reversed",
        "slice",
        "tuple",
        "layers",
        "nn",
        "Draws",
        "Nets",
        "NetSpec",
        "GeneratedModel",
        "Requirement",
        "Scopes",
        "Size",
        "TABLES",
        "TableSpec",
        "Tensor",
        "TermSpec",
        "Values",
        "VariableSpec",
        "dataclass",
        "MODEL",
        "NESTED",
        "Solves",
    ]
)
"""What generated functions call or hold under these names."""

_ATTRIBUTES = frozenset(
    [
        "batch",
        "dtype",
        "device",
        "draw",
        "nets",
        "prepare",
        "scopes",
        "tables",
        "terms",
        "energy",
        "smooth",
        "absolute",
        "obligations",
        "constraints",
        "obligations",
        "factors",
        "first_states",
        "next_states",
        "cost_of_states",
        "limits_of_states",
        "lets",
        "start",
        "domain",
        "property",
        "solves",
    ]
)
"""What a generated class has besides its hyperparameters."""

_METHODS = ("start_", "domain_", "property_")


@cache
def local_name(name: str) -> str:
    """The Python name of a variable, let or term inside generated functions.

    The name of a part's variable, `reg.z`, has two underscores for each point.
    """
    parts = name.split(".")
    if len(parts) > 1 and all(map(_joins, parts)):
        return f"{'__'.join(parts)}_"
    unusual = not name.isidentifier() or unicodedata.normalize("NFKC", name) != name
    if unusual or name.startswith("__") or not name.strip("_"):
        # Python reads normal forms and renames a leading double underscore inside a class.
        return f"name_{name.encode().hex()}_"
    plain = not (
        keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in _TAKEN or name.endswith("_")
    )
    return name if plain else f"{name}_"


def _joins(part: str) -> bool:
    """Whether two underscores beside a part of a name are seen as such."""
    plain = local_name(part) in (part, f"{part}_")
    return plain and "__" not in part and part[:1] != "_" and part[-1:] != "_"


def field_name(name: str) -> str:
    """The attribute of the generated class that holds a hyperparameter."""
    own = local_name(name)
    return f"{name}_" if own == name and (name in _ATTRIBUTES or name.startswith(_METHODS)) else own


def method_name(kind: str, name: str) -> str:
    """`start_x`, `domain_x` or `property_p`."""
    return f"{kind}_{local_name(name)}"


def class_name(name: str) -> str:
    """`sparse_coding` as `SparseCoding`."""
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_") if part)
    # Constants of the module are in capitals, and none is shorter than five letters.
    plain = bool(camel) and local_name(camel) == camel and not (camel.isupper() and len(camel) > 4)
    return camel if plain else f"Model{local_name(name)}"
