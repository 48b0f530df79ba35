"""Reading data and writing results."""

from ebmlang.data.dataset import DataSet
from ebmlang.data.match import Wanted, match, unused
from ebmlang.data.memory import parse_memory
from ebmlang.data.read import read
from ebmlang.data.write import ResultWriter, require_writable, write

__all__ = [
    "DataSet",
    "ResultWriter",
    "Wanted",
    "match",
    "parse_memory",
    "read",
    "require_writable",
    "unused",
    "write",
]
