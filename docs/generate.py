"""Writes the parts of the documentation that follow from tables and models: `python -m docs.generate`.

A page keeps such a part between two comments,

    <!-- generated: builtins -->
    <!-- end -->

and everything else by hand. `tests/docs` fails when a part is out of date. Needs no torch.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from docs import components, systems
from ebmlang import cli
from ebmlang.commands import COMMANDS
from ebmlang.compiler import builtins, domains, methods, optimisers, samplers
from ebmlang.compiler.catalogue import all_diagnostics
from ebmlang.compiler.diagnostics import listing
from ebmlang.compiler.losses import table as losses
from ebmlang.compiler.needs import NEED_TEXT
from ebmlang.compiler.nets import constructors
from ebmlang.compiler.nets.net import option_text
from ebmlang.data.generated import GENERATED
from ebmlang.runtime.training import rules

DOCS = Path(__file__).parent
GRAMMAR = DOCS.parent / "grammar" / "ebm.lark"
PART = re.compile(r"(<!-- generated: ([\w. -]+) -->\n).*?(<!-- end -->)", re.DOTALL)

GROUPS = (
    ("operator", "Operators"),
    ("comparison", "Comparisons and conditions"),
    ("elementwise", "Entry by entry"),
    ("reduction", "Reductions"),
    ("axis", "Along an axis"),
    ("matrix", "Vectors and matrices"),
    ("shape", "Shapes"),
    ("constructor", "Arrays from sizes"),
    ("distribution", "Distributions"),
    ("derivative", "Derivatives"),
    ("written", "Written out in others"),
)
"""Forms of built-ins in the order of the page."""

CODE_GROUPS = (
    ("E00", "Files and the layout of a text"),
    ("E01", "Syntax"),
    ("E02", "Names"),
    ("E03", "Types and domains"),
    ("E04", "Shapes and sizes"),
    ("E05", "Models"),
    ("E06", "Imports and parts"),
    ("E07", "Nets"),
    ("E09", "Not built yet"),
    ("W", "Warnings"),
)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of GitHub's Markdown."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str) -> str:
    return f"`{text}`"


# --- the language -------------------------------------------------------------------------------


def builtin_tables() -> str:
    parts = []
    for form, title in GROUPS:
        rows = [row for row in builtins.TABLE if row.form == form]
        shown = [(code(row.example), _meaning(row)) for row in rows]
        parts.append(f"### {title}\n\n{table(('written', 'meaning'), shown)}")
    return "\n".join(parts)


def _meaning(row: builtins.Builtin) -> str:
    options = [f"`{name} = {default:g}`" for name, default in row.options if default is not None]
    return f"{row.doc}; option {listing(options, 'and')}" if options else row.doc


def constants() -> str:
    return ", ".join(code(name) for name in builtins.CONSTANTS) + "\n"


SPELLED = {"interval": "in [lo, hi]", "sparse_simplex": "in simplex(k)", "subset": "in subset(k)"}


def domain_table() -> str:
    rows = []
    for rule in domains.DOMAINS:
        if rule.name in ("reals", "permutation"):  # the one is no set, the other a type
            continue
        spelled = SPELLED.get(rule.name, f"in {rule.name}")
        spelled = f"{spelled} where mask" if rule.masked else spelled
        entries = ("each entry", "last dimension", "last two dimensions")[rule.rank]
        kept = "not built yet" if not rule.built else rule.geometry
        rows.append((code(spelled), rule.meaning, entries, " or ".join(rule.kinds), kept))
    return table(("domain", "meaning", "one set per", "of type", "kind of set"), rows)


def reserved_words() -> str:
    """The words of the grammar that cannot be names."""
    text = GRAMMAR.read_text(encoding="utf-8")
    section = text.split("// --- reserved words")[1].split("// ---")[0]
    return ", ".join(code(word) for word in re.findall(r'^[A-Z]+: "(\w+)"', section, re.MULTILINE)) + "\n"


def free_words() -> str:
    """Words with a meaning in one place only, free as names."""
    text = GRAMMAR.read_text(encoding="utf-8")
    section = text.split("// --- words that are keywords only")[1].split("// ---")[0]
    return ", ".join(code(word) for word in re.findall(r'^[A-Z]+: "(\w+)"', section, re.MULTILINE)) + "\n"


# --- nets ---------------------------------------------------------------------------------------


def constructor_table() -> str:
    rows = []
    for row in constructors.CONSTRUCTORS:
        options = ", ".join(code(_option(option)) for option in row.options) or "none"
        rows.append((code(row.example.split(" : ", 1)[1]), row.doc, options))
    return table(("for example", "net", "options"), rows)


def _option(option: constructors.Option) -> str:
    return option.name if option.default is None else f"{option.name} = {option_text(option.default)}"


def activations() -> str:
    return ", ".join(code(a.name) for a in constructors.ACTIVATIONS) + "\n"


# --- methods ------------------------------------------------------------------------------------


def optimiser_table() -> str:
    rows = []
    for row in optimisers.OPTIMISERS:
        options = ", ".join(
            code(optimisers.optimiser_text(row.name, [o])[len(row.name) + 1 : -1])
            for o in row.defaults.items()
        )
        rows.append((code(row.name), row.title, options, row.reference))
    return table(("name", "what it does", "options and defaults", "source"), rows)


def health_table() -> str:
    rows = [(code(rule.name), rule.title, rule.advice) for rule in rules.RULES]
    return table(("warning", "what it means", "one thing to try"), rows)


def loss_table() -> str:
    rows = []
    for row in losses.WRITTEN:
        options = "".join(f", {name} = {value}" for name, value in row.options if value)
        options = "".join(f", {name} = u" for name, value in row.options if not value) + options
        kinds = " or ".join(row.kinds)
        rows.append((code(f"{row.name}(y{options})"), kinds, code(row.formula), row.title, row.reference))
    return table(("by", "y is", "the mean over the rows of", "what it asks", "source"), rows)


def method_table() -> str:
    rows = []
    for row in methods.ALL_METHODS:
        needs = "; ".join(NEED_TEXT[need] for need in row.needs) or "nothing: it takes any energy"
        options = ", ".join(code(name) for name, _ in (*row.options, *methods.COMMON))
        rows.append((code(row.name), needs, row.certificate, options, row.reference))
    return table(("method", "needs", "what the answer is", "options of `using`", "reference"), rows)


def sampler_table() -> str:
    rows = []
    for row in samplers.SAMPLERS:
        options = ", ".join(code(name) for name, _ in row.options)
        rows.append((code(row.name), " or ".join(row.takes), row.title, options, row.reference))
    return table(("sampler", "unknowns", "draws", "options of its own", "source"), rows)


def method_names() -> str:
    return ", ".join(map(code, methods.method_names())) + "\n"


# --- commands -----------------------------------------------------------------------------------


def command_list() -> str:
    return table(("command", "does"), [(f"[`{c.NAME}`](#{c.NAME})", c.HELP) for c in COMMANDS])


def subparsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by name."""
    for action in cli.parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the command line has no commands")


def command_options(name: str) -> str:
    rows = []
    for action in subparsers()[name]._actions:
        if "--help" in action.option_strings:
            continue
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        value = metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
        takes = action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction)
        spelled = [f"{option} {value}" if takes else option for option in action.option_strings]
        positional = f"{value}..." if action.nargs in ("+", "*") else value
        rows.append((", ".join(map(code, spelled)) or code(positional), action.help or ""))
    return table(("argument", "meaning"), rows)


def exit_codes() -> str:
    meanings = (
        (cli.DONE, "done"),
        (cli.WRONG, "the model or the data is wrong; messages are on standard error"),
        (cli.USAGE, "the command line is wrong"),
        (cli.NOT_CONVERGED, "`--strict` was given and some row did not converge, or `--fail-on` ended a run"),
        (cli.BUG, "a bug of ebmlang"),
        (cli.INTERRUPTED, "interrupted; finished rows are on disk"),
    )
    return table(("code", "meaning"), [(str(number), text) for number, text in meanings])


# --- the gallery --------------------------------------------------------------------------------


def gallery_table() -> str:
    """The systems with their figures, as `python -m tests.gallery --write` noted them."""
    rows = []
    for name, system in json.loads((DOCS / "gallery.json").read_text(encoding="utf-8")).items():
        for at, figure in enumerate(system["figures"]):
            path = f"models/gallery/{system['file']}"
            first = (f"[{name}](../{path})", system["reference"], system["date"]) if at == 0 else ("", "", "")
            floors = "; ".join(f"{what} {value:g}" for what, value in figure["floors"].items())
            met = "yes" if figure["met"] else f"NO: {figure['shortfall']}" if figure["shortfall"] else "NO"
            met = "" if figure["bar"] == "none" else met
            value = f"{figure['value']:g}"
            rows.append((first[0], figure["what"], value, figure["bar"], met, floors, *first[1:]))
    return table(("system", "figure", "measured", "bar", "met", "floors", "reference", "date"), rows)


def generated_sets() -> str:
    rows = [(code(f"generated:{name}"), (draw.__doc__ or "").splitlines()[0]) for name, draw in GENERATED]
    return table(("data set", "rows"), rows)


# --- diagnostics --------------------------------------------------------------------------------


def diagnostics() -> str:
    parts = []
    kinds = all_diagnostics()
    for prefix, title in CODE_GROUPS:
        found = [kind for kind in kinds if kind.code.startswith(prefix)]
        if found:
            entries = [f"### {kind.code}\n\n{kind.explanation()}\n" for kind in found]
            parts.append(f"## {title}\n\n" + "\n".join(entries))
    return "\n".join(parts)


# --- pages --------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], str]] = {
    "builtins": builtin_tables,
    "constants": constants,
    "domains": domain_table,
    "reserved words": reserved_words,
    "free words": free_words,
    "constructors": constructor_table,
    "activations": activations,
    "methods": method_table,
    "optimisers": optimiser_table,
    "health": health_table,
    "losses": loss_table,
    "samplers": sampler_table,
    "method names": method_names,
    "commands": command_list,
    "exit codes": exit_codes,
    "diagnostics": diagnostics,
    "library": components.index,
    "gallery": gallery_table,
    "pages of planning": systems.index,
    "generated sets": generated_sets,
}


def part(name: str) -> str:
    """The text of one generated part. Raises KeyError for a name that is not known."""
    if name.startswith("options "):
        return command_options(name.removeprefix("options "))
    if name.startswith("std."):
        return components.component(name.removeprefix("std."))
    if name.startswith("gallery."):
        return systems.system(name.removeprefix("gallery."))
    return PARTS[name]()


def renewed(text: str) -> str:
    """A page with its generated parts brought up to date."""
    return PART.sub(lambda found: f"{found[1]}\n{part(found[2])}\n{found[3]}", text)


def pages() -> tuple[Path, ...]:
    """Every page of the documentation, README included."""
    folders = (DOCS, components.PAGES, systems.PAGES)
    return (DOCS.parent / "README.md", *(page for folder in folders for page in sorted(folder.glob("*.md"))))


def main() -> int:
    for written in (
        *components.skeletons(),
        *components.pictures(),
        *systems.skeletons(),
        *systems.pictures(),
    ):
        print(f"wrote {written.relative_to(DOCS.parent)}")
    for page in pages():
        old = page.read_text(encoding="utf-8")
        new = renewed(old)
        if new != old:
            page.write_text(new, encoding="utf-8", newline="\n")
            print(f"renewed {page.relative_to(DOCS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
