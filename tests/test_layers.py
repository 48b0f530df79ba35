"""Who may import whom, read from the sources; and what a bare import may not pull in."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINKED = ("grammar", "compiler", "runtime", "models")
SHELL = tuple(f"ebmlang.{name}" for name in ("api", "cli", "commands", "data", "draw", "report", "testing"))

FORBIDDEN = {
    "grammar": ("",),
    "models": ("",),
    "compiler": ("torch", "functorch", "ebmlang.runtime", *SHELL),
    "runtime": SHELL,
}
"""Folder -> beginnings of module names that nothing in it may import; the empty one means any import."""


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of what a source imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def below(name: str, package: str) -> bool:
    return not package or name == package or name.startswith(package + ".")


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_layers(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(folder)
        for name in imports(ast.parse(path.read_text(encoding="utf-8")))
        if name != "__future__" and not name.startswith("__future__.")
        if any(below(name, package) for package in FORBIDDEN[folder])
    ]
    assert not wrong, "\n".join(wrong)


def test_the_layer_test_sees_imports() -> None:
    text = "import torch.nn\ndef f():\n    from ebmlang import runtime\n"
    assert list(imports(ast.parse(text))) == ["torch.nn", "ebmlang", "ebmlang.runtime"]
    assert below("torch.nn", "torch")
    assert not below("torchvision", "torch")


def at_import(tree: ast.Module) -> Iterator[str]:
    """What a module needs while it is imported: not in functions, not for type checkers alone.

    `from package import module` needs the module; the package itself may be half made.
    """
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in full if (ROOT / name.replace(".", "/")).with_suffix(".py").exists()]
            yield from modules if len(modules) == len(full) else [node.module or "", *modules]


def test_no_import_cycles() -> None:
    modules: dict[str, set[str]] = {}
    for path in (p for folder in ("ebmlang", *LINKED) for p in sources(folder)):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts if parts[0] == "ebmlang" else ("ebmlang", *parts)
        name = ".".join(parts).removesuffix(".__init__")
        modules[name] = set(at_import(ast.parse(path.read_text(encoding="utf-8"))))
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in sorted(modules[name] & modules.keys() - {name}):
                visit(other, (*trail, name))
            done.add(name)

    for name in modules:
        visit(name, ())


@pytest.mark.parametrize("name", LINKED)
def test_bare_names_refuse(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match=f"import this package as ebmlang.{name}"):
        importlib.import_module(name)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("ebmlang", ("torch", "sympy", "networkx")),
        ("ebmlang.cli", ("torch", "numpy", "rich", "sympy", "networkx", "lark", "hypothesis")),
        ("ebmlang.commands", ("torch", "numpy", "rich", "sympy", "networkx", "lark", "hypothesis")),
        ("ebmlang.errors", ("torch", "numpy", "lark")),
        ("ebmlang.data", ("torch", "sklearn", "pyarrow", "pandas")),
    ],
)
def test_light_imports(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*(set({absent!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
