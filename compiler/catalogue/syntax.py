"""Mistakes in the spelling of a program: E00xx for the file, E01xx for the syntax."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ebmlang.compiler.diagnostics import Diagnostic, Label, did_you_mean, listing
from ebmlang.compiler.source import Span


@dataclass(frozen=True, eq=False, repr=False)
class EmptyFile(Diagnostic):
    """The file holds no model.

    A `.ebm` file needs at least one `model NAME(...) { ... }`. Comments alone are not enough.
    """

    code: ClassVar[str] = "E0001"

    def message(self) -> str:
        return "the file holds no model"

    def expected(self) -> str:
        return "at least one `model`"

    def hint(self) -> str:
        return "model my_model(n: int) { observed y : real[n]; latent z : real[n]; energy fit = ||y - z||^2 }"


@dataclass(frozen=True, eq=False, repr=False)
class FileTooLarge(Diagnostic):
    """The file is larger than a program can be.

    The limit keeps a wrong path (a data file, a log) from filling the memory. Data belongs in
    arrays, not in the program.
    """

    code: ClassVar[str] = "E0002"
    size: int = 0
    limit: int = 0

    def message(self) -> str:
        return f"the file has {self.size:,} characters; a program may have {self.limit:,}"

    def hint(self) -> str:
        return "is this the right file? Data goes into arrays (--data), not into the program"


@dataclass(frozen=True, eq=False, repr=False)
class WrongEncoding(Diagnostic):
    """The file is not text in UTF-8.

    The message names the first byte that is not UTF-8 and its offset.
    """

    code: ClassVar[str] = "E0003"
    byte: int = 0
    offset: int = 0

    def message(self) -> str:
        return f"the file is not UTF-8 text: byte 0x{self.byte:02x} at offset {self.offset}"

    def expected(self) -> str:
        return "text in UTF-8"

    def hint(self) -> str:
        return "save the file as UTF-8; a .ebm file holds text only"


@dataclass(frozen=True, eq=False, repr=False)
class UnexpectedWord(Diagnostic):
    """Something stands where the grammar has no place for it.

    The message shows what was found and what could stand there instead.
    """

    code: ClassVar[str] = "E0101"
    found: str = ""
    wanted: tuple[str, ...] = ()
    advice: str = ""

    def message(self) -> str:
        return f"did not expect {self.found} here"

    def label(self) -> str:
        return f"found {self.found}"

    def expected(self) -> str:
        return listing(self.wanted)

    def hint(self) -> str:
        return self.advice


@dataclass(frozen=True, eq=False, repr=False)
class UnknownCharacter(Diagnostic):
    """A character that is not part of the language."""

    code: ClassVar[str] = "E0102"
    character: str = ""

    def message(self) -> str:
        return f"the character {self.character!r} (U+{ord(self.character):04X}) is not part of the language"

    def hint(self) -> str:
        kind = unicodedata.category(self.character)
        if self.character in _CHARACTER_ADVICE:
            return _CHARACTER_ADVICE[self.character]
        if kind in ("Zs", "Zl", "Zp", "Cf"):
            return "it cannot be seen: replace it with an ordinary space"
        if kind in ("Cc", "Cs"):
            return "it is no text: the file may be damaged, or of another kind"
        return "delete it, or put it into a comment (# ...)"


_CHARACTER_ADVICE = {
    "$": "write mathematics as plain expressions: 1/2 * ||y - D @ z||^2",
    "\\": "a statement goes on inside brackets or after an operator; no backslash is needed",
    "'": "the transpose is written x.T; a text stands in double quotes",
    "!": "`not` is written not(x); `not equal` is !=",
    "&": "write `and` between two conditions",
    "?": "a choice is written where(condition, a, b)",
    "×": "multiplication is written *",
    "·": "a dot product is written dot(a, b) or a @ b",
    "²": "a square is written x^2",
    "−": "this is a typographic minus sign: use the ASCII -",
    "–": "this is a dash: use the ASCII -",
    "‖": "a norm is written ||x||",
    "≤": "write <=",
    "≥": "write >=",
    "≠": "write !=",
    "∑": "a sum is written sum(e) or sum(e, over = i in 0..n)",
    "∞": "infinity is written inf",
    '"': 'a string can only name a file: import "block.ebm" as block',
    "\ufeff": "this is a byte order mark, which belongs only to the beginning of a file",
    "`": "names are written without quotes",
}


@dataclass(frozen=True, eq=False, repr=False)
class LineStartsWithOperator(Diagnostic):
    """A line begins with an operator, so it cannot be a statement.

    A statement ends at the end of its line, unless a bracket is open or the line ends with a
    binary operator, a comma, `=` or `->`. To go on, put the operator at the end of the line above.
    """

    code: ClassVar[str] = "E0103"
    operator: str = ""

    def message(self) -> str:
        return f"a line cannot start with `{self.operator}`: the statement above has already ended"

    def expected(self) -> str:
        return "a declaration, a term or a question"

    def hint(self) -> str:
        return f"end the line above with `{self.operator}`, or put the expression into parentheses"


@dataclass(frozen=True, eq=False, repr=False)
class ReservedName(Diagnostic):
    """A reserved word is used as a name.

    Reserved are the words that begin a statement (model, observed, latent, param, energy, infer,
    plan, ...) and `in`, `if`, `with`, `as`. Every other word is free.
    """

    code: ClassVar[str] = "E0104"
    word: str = ""

    def message(self) -> str:
        return f"`{self.word}` is a reserved word and cannot be a name"

    def label(self) -> str:
        return "reserved word"

    def expected(self) -> str:
        return "a name"

    def hint(self) -> str:
        return f"choose another name, such as `{self.word}_` or `my_{self.word}`"


@dataclass(frozen=True, eq=False, repr=False)
class UnknownStatement(Diagnostic):
    """A line begins with a word that begins no statement."""

    code: ClassVar[str] = "E0105"
    word: str = ""
    known: tuple[str, ...] = ()

    def message(self) -> str:
        return f"`{self.word}` does not begin a statement"

    def expected(self) -> str:
        return "a declaration, a term or a question"

    def hint(self) -> str:
        if self.word in _CLAUSES:
            return f"`{self.word}` belongs to a question and stands on its line: {_CLAUSES[self.word]}"
        if self.word in _FOREIGN_WORDS:
            return _FOREIGN_WORDS[self.word]
        return did_you_mean(self.word, self.known) or (
            "a named value is written `let x = ...`, an energy term `energy x = ...`"
        )


_CLAUSES = {
    "of": "infer z of fit",
    "given": "infer z given y",
    "by": "train D by nce(y, noise = u)",
    "using": "infer z using lbfgs",
    "on": "train D on pairs",
    "every": "train D every 5",
    "at": "marginalize c at beta = 2",
    "steps": "train D steps = 5",
}

_FOREIGN_WORDS = {
    "from": "a library model is imported whole: import std.attention",
    "include": 'another file is imported: import std.attention, or import "block.ebm" as block',
    "def": "a function is written fn f(x: real[n]) -> real = ...",
    "function": "a function is written fn f(x: real[n]) -> real = ...",
    "var": "an unknown is `latent`, a given value `observed`, a learned one `param`",
    "variable": "an unknown is `latent`, a given value `observed`, a learned one `param`",
    "parameter": "a learned value is declared with `param`",
    "parameters": "learned values are declared one by one with `param`",
    "data": "given values are declared with `observed`",
    "input": "given values are declared with `observed`",
    "minimize": "a question is written `infer z`",
    "minimise": "a question is written `infer z`",
    "maximize": "energies are minimised: negate the term and write `infer z`",
    "loss": "a term is `energy`, `regularizer` or `cost`",
    "objective": "a term is `energy`, `regularizer` or `cost`",
    "constraint": "a constraint is written subject to NAME : g(x) <= 0",
    "const": "a constant is written `let c = ...`, or as a hyperparameter of the model",
    "int": "a declaration begins with its role: `latent k : class[3]`",
    "real": "a declaration begins with its role: `latent x : real[n]`",
    "while": "there are no loops: a plate `for t in 0..T { ... }` repeats terms",
    "return": "there is no `return`: a function is one expression",
    "else": "a choice is written where(condition, a, b)",
}


@dataclass(frozen=True, eq=False, repr=False)
class Unclosed(Diagnostic):
    """A bracket is opened and never closed."""

    code: ClassVar[str] = "E0106"
    opener: str = ""
    closer: str = ""
    end: Span | None = None
    found: str = "the end of the file"
    note: str = ""

    def message(self) -> str:
        return f"`{self.opener}` is never closed"

    def label(self) -> str:
        return "opened here"

    def expected(self) -> str:
        return f"`{self.closer}` before {self.found}"

    def hint(self) -> str:
        return f"add the missing `{self.closer}`"

    def related(self) -> Sequence[Label]:
        return (Label(self.end, self.note or f"still open at {self.found}"),) if self.end else ()


@dataclass(frozen=True, eq=False, repr=False)
class Unopened(Diagnostic):
    """A bracket is closed that was not opened, or by a bracket of another kind."""

    code: ClassVar[str] = "E0107"
    closer: str = ""
    opener: str = ""
    opened: Span | None = None

    def message(self) -> str:
        if self.opened:
            return f"`{self.closer}` does not close `{self.opener}`"
        return f"`{self.closer}` closes nothing"

    def hint(self) -> str:
        if self.opened:
            wanted = {"(": ")", "[": "]", "{": "}"}[self.opener]
            return f"write `{wanted}`, or open with the matching bracket"
        return f"delete `{self.closer}`, or add what it should close"

    def related(self) -> Sequence[Label]:
        return (Label(self.opened, f"`{self.opener}` was opened here"),) if self.opened else ()


@dataclass(frozen=True, eq=False, repr=False)
class NestedBars(Diagnostic):
    """Bars stand inside bars.

    `|x|` and `||x||` look the same where they open and where they close, so they do not nest.
    """

    code: ClassVar[str] = "E0108"

    def message(self) -> str:
        return "bars do not nest"

    def hint(self) -> str:
        return "write the inner one as abs(x) or norm(x)"


@dataclass(frozen=True, eq=False, repr=False)
class ChainedComparison(Diagnostic):
    """Comparisons do not chain: `0 <= x <= 1` has two of them."""

    code: ClassVar[str] = "E0109"
    operator: str = ""

    def message(self) -> str:
        return f"comparisons do not chain: a second one begins at `{self.operator}`"

    def hint(self) -> str:
        return "write `a <= x and x <= b`; bounds of a variable are written `in [a, b]`"


@dataclass(frozen=True, eq=False, repr=False)
class TooDeep(Diagnostic):
    """Brackets or plates are nested deeper than the limit."""

    code: ClassVar[str] = "E0110"
    limit: int = 0

    def message(self) -> str:
        return f"more than {self.limit} levels of brackets"

    def hint(self) -> str:
        return "name inner parts with `let`"


@dataclass(frozen=True, eq=False, repr=False)
class ForeignOperator(Diagnostic):
    """An operator of another language.

    The language has + - * / // % @ ^, comparisons, `and`, `or`, and `not(x)`.
    """

    code: ClassVar[str] = "E0111"
    operator: str = ""
    instead: str = ""

    def message(self) -> str:
        return f"`{self.operator}` is not an operator of the language"

    def hint(self) -> str:
        return self.instead


@dataclass(frozen=True, eq=False, repr=False)
class ImplicitProduct(Diagnostic):
    """Two values stand side by side: a product needs its `*`."""

    code: ClassVar[str] = "E0112"
    left: str = ""
    right: str = ""
    instead: str = ""

    def message(self) -> str:
        return f"there is no operator between `{self.left}` and `{self.right}`"

    def expected(self) -> str:
        return "an operator between two values"

    def hint(self) -> str:
        *part, last = self.left.split(".")
        if part and last != "T" and last.isidentifier() and self.right.startswith("("):
            return f"nets of parts are called in the part; `with` shares them: with {last} = {self.left}"
        return self.instead or f"{self.left} * {self.right}"


@dataclass(frozen=True, eq=False, repr=False)
class MalformedNumber(Diagnostic):
    """A number is not spelled as one: `1.2.3`, `0x10`, `1e`."""

    code: ClassVar[str] = "E0113"
    text: str = ""

    def message(self) -> str:
        return f"`{self.text}` is not a number"

    def expected(self) -> str:
        return "decimal digits, as in 12, 0.5 or 1e-3"


@dataclass(frozen=True, eq=False, repr=False)
class RepeatedPart(Diagnostic):
    """The same clause or modifier stands twice in one statement."""

    code: ClassVar[str] = "E0114"
    word: str = ""

    def message(self) -> str:
        return f"`{self.word}` stands twice in this statement"

    def hint(self) -> str:
        return f"keep one `{self.word}`"


@dataclass(frozen=True, eq=False, repr=False)
class StatementOutsideModel(Diagnostic):
    """A declaration, term or question stands outside of any model."""

    code: ClassVar[str] = "E0115"
    word: str = ""

    def message(self) -> str:
        return f"`{self.word}` stands outside of a model"

    def expected(self) -> str:
        return "`model` or `import` at the top of a file"

    def hint(self) -> str:
        return "put it between the braces of `model NAME(...) { ... }`"


@dataclass(frozen=True, eq=False, repr=False)
class TooManyMistakes(Diagnostic):
    """The run stopped after the limit of syntax mistakes."""

    code: ClassVar[str] = "E0116"
    limit: int = 0

    def message(self) -> str:
        return f"more than {self.limit} syntax mistakes; the rest of the file was not read"


@dataclass(frozen=True, eq=False, repr=False)
class MissingSeparator(Diagnostic):
    """Two statements stand on one line without `;` between them."""

    code: ClassVar[str] = "E0117"
    word: str = ""

    def message(self) -> str:
        return f"`{self.word}` begins a new statement in the middle of a line"

    def expected(self) -> str:
        return "the end of the line or `;` before it"

    def hint(self) -> str:
        return f"put a newline or `;` before `{self.word}`"


@dataclass(frozen=True, eq=False, repr=False)
class NothingFollows(Diagnostic):
    """An operator, a comma or `=` has nothing behind it.

    A line that ends with one of them goes on in the next line, so the mistake may show only where
    the next statement begins.
    """

    code: ClassVar[str] = "E0118"
    operator: str = ""

    def message(self) -> str:
        return f"nothing follows `{self.operator}`"

    def expected(self) -> str:
        return f"something after `{self.operator}`"

    def hint(self) -> str:
        if self.operator == "=":
            return "write the value on this line or the next"
        return f"complete it, or delete `{self.operator}`"
