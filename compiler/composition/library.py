"""Where the models that a file names come from: the file itself, and what it imports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.names import DeclaredTwice
from ebmlang.compiler.catalogue.parts import Circular, ImportFailed, TooManyParts, UnknownModel
from ebmlang.compiler.diagnostics import Label, Located, Report, did_you_mean
from ebmlang.compiler.parse import parse
from ebmlang.compiler.source import Source
from ebmlang.errors import DataError, ModelError

STANDARD = Path(__file__).parent.parent.parent / "models" / "std"
"""The standard library: one file for each `import std.NAME`."""

MOST_FILES = 200
Check = Callable[[ast.Module, Report, "Library"], tuple[typed.Model, ...]]


@dataclass(frozen=True, slots=True)
class Imported:
    """The models of one file that were found right; `default` is the one that the name alone means."""

    models: dict[str, typed.Model]
    default: str


@dataclass(slots=True)
class Library:
    """The files that one file imports, through others too, each read once.

    `diagnostics` are the mistakes in imported files. `check` checks one parsed file; it is passed in
    because it needs the library itself.
    """

    check: Check
    read: Callable[[Path], Source]
    known: dict[Path, Imported | None] = field(default_factory=dict)
    loading: list[Path] = field(default_factory=list)
    diagnostics: list[Located] = field(default_factory=list)

    def models(self, module: ast.Module, report: Report) -> Models:
        """What the imports of a file are called in it."""
        found = Models({})
        first: dict[str, ast.Import] = {}
        for node in module.imports:
            name = node.alias.text if node.alias is not None else node.path[-1].text
            if name in first:
                places = (Label(first[name].span, "first declared here"),)
                report.add(DeclaredTwice(node.span, name, places))
                continue
            first[name] = node
            imported = self._import(node, report)
            if imported is not None:
                found.imported[name] = imported
            else:
                found.broken.add(name)
        return found

    def _import(self, node: ast.Import, report: Report) -> Imported | None:
        shown = node.file if node.file is not None else ".".join(i.text for i in node.path)
        where = _place(node, report.source)
        if isinstance(where, str):
            advice = 'import std.NAME, or import "file.ebm" as NAME'
            if node.path and node.path[-1].text in _standard():
                advice = f"import std.{node.path[-1].text}"
            report.add(ImportFailed(node.span, shown, where, advice))
            return None
        if where in self.loading:
            chain = [p.name for p in self.loading[self.loading.index(where) :]]
            report.add(Circular(node.span, "imports", (*chain, where.name)))
            return None
        if where not in self.known:
            if len(self.known) >= MOST_FILES:
                report.add(
                    TooManyParts(node.span, f"spread over more than {MOST_FILES} files", f"{MOST_FILES}")
                )
                return None
            self.known[where] = self._load(where, node, shown, report)
        elif self.known[where] is None:
            report.add(ImportFailed(node.span, shown, "it has mistakes", "see the messages for that file"))
        return self.known[where]

    def _load(self, where: Path, node: ast.Import, shown: str, report: Report) -> Imported | None:
        try:
            source = self.read(where)
        except DataError as error:
            why, advice = error.message, error.hint
            if node.file is None:
                why = "the library has nothing of that name"
                near = did_you_mean(where.stem, _standard())
                advice = near or "the components are listed in docs/library.md"
            elif not where.exists():
                why, advice = "there is no such file", "the path starts at the folder of this file"
            report.add(ImportFailed(node.span, shown, why, advice))
            return None
        except ModelError as error:
            self.diagnostics.extend(error.diagnostics)
            report.add(ImportFailed(node.span, shown, "it cannot be read", "see the message for that file"))
            return None
        inner = Report(source)
        self.loading.append(where)
        module = parse(inner)
        models = () if module is None or inner.failed else self.check(module, inner, self)
        self.loading.pop()
        self.diagnostics.extend(inner.errors)
        if inner.failed or not models:
            why = "it has mistakes" if inner.failed else "it holds no model"
            report.add(ImportFailed(node.span, shown, why, "see the messages for that file"))
            return None
        by_name = {m.name: m for m in models}
        return Imported(by_name, where.stem if where.stem in by_name else models[-1].name)


def _standard() -> tuple[str, ...]:
    """The names of the components of the standard library."""
    return tuple(sorted(p.stem for p in STANDARD.glob("*.ebm")))


def _place(node: ast.Import, source: Source) -> Path | str:
    """The file that an import names, or why it names none."""
    if node.file is None:
        names = [i.text for i in node.path]
        if names[0] != "std" or len(names) != 2:
            return "only the standard library is imported by name"
        return STANDARD / f"{names[1]}.ebm"
    if not node.file.endswith(".ebm"):
        return "its name does not end in .ebm"
    if Path(node.file).is_absolute():
        return "the path is absolute"
    beside = Path(source.name).parent
    try:
        return (beside / node.file).resolve()
    except (OSError, RuntimeError):
        return "it is a link that leads to itself"


@dataclass(slots=True)
class Models:
    """The models that the statements of one file may name."""

    imported: dict[str, Imported]
    own: dict[str, typed.Model] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def find(self, reference: ast.Reference, report: Report) -> typed.Model | None:
        """The model that a reference means; None after a mistake, reported here or where it is made."""
        names = [i.text for i in reference.path]
        if names[0] == "std" and len(names) > 1:
            names = names[1:]
        if names[0] in self.broken:
            return None
        if len(names) == 1 and names[0] in self.own:
            return self.own[names[0]]
        imported = self.imported.get(names[0])
        if imported is not None and len(names) <= 2:
            found = imported.models.get(names[1] if len(names) == 2 else imported.default)
            if found is not None:
                return found
        report.add(UnknownModel(reference.span, ".".join(names), tuple(self._known()), _standard()))
        return None

    def _known(self) -> Iterator[str]:
        yield from self.own
        for name, imported in self.imported.items():
            yield name
            yield from (f"{name}.{m}" for m in imported.models if m != imported.default)


def in_order(module: ast.Module, report: Report, models: Models) -> tuple[ast.Model, ...]:
    """The models of a file, each after those that it has as parts; those that are parts of
    themselves are reported, and count as broken."""
    named = {m.name.text: m for m in module.models}
    ordered: list[ast.Model] = []
    state: dict[str, str] = {}
    for model in module.models:
        stack = [(model, iter(_parts(model, named)))]
        if state.get(model.name.text) == "done":
            if model not in ordered:
                ordered.append(model)  # a second one of that name: reported where it is checked
            continue
        state[model.name.text] = "open"
        while stack:
            top, parts = stack[-1]
            part = next(parts, None)
            if part is None:
                state[top.name.text] = "done"
                ordered.append(top)
                stack.pop()
            elif state.get(part.path[-1].text) == "open":
                names = [m.name.text for m, _ in stack]
                chain = names[names.index(part.path[-1].text) :]
                models.broken.update(chain)
                report.add(Circular(part.span, "is a part of", (*chain, part.path[-1].text)))
            elif part.path[-1].text not in state:
                state[part.path[-1].text] = "open"
                inner = named[part.path[-1].text]
                stack.append((inner, iter(_parts(inner, named))))
    return tuple(ordered)


def _parts(model: ast.Model, named: dict[str, ast.Model]) -> list[ast.Reference]:
    """The models of the same file that a model names as parts."""
    found: list[ast.Reference] = []
    stack: list[tuple[ast.Statement, ...]] = [model.body]
    while stack:
        for statement in stack.pop():
            if isinstance(statement, ast.Plate | ast.Stage):
                stack.append(statement.body)
            elif isinstance(statement, ast.Part | ast.Compose):
                path = statement.reference.path
                if len(path) == 1 and path[0].text in named:
                    found.append(statement.reference)
    return found
