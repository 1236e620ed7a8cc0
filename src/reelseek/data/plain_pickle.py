"""Reads a pickle of nothing but dicts, lists, tuples and strings, and refuses every other before it is loaded.

A pickle is a program: loading one from a stranger runs what it says. The operations on the list below make and fill
containers and strings; none of them can name, import or call anything.
"""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path
from typing import Any

from reelseek.errors import DataError

MOST_BYTES = 256 * 2**20
PLAIN = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET"),
        *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    )
)
_DAMAGE = (pickle.UnpicklingError, ValueError, EOFError, LookupError, TypeError, AttributeError, OverflowError)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"names {module}.{name}")


def read_plain_pickle(path: Path) -> Any:
    """The dicts, lists, tuples and strings of a pickle file, of any protocol, written by Python 2 or 3.

    Raises DataError for a file with any other operation, one beyond `MOST_BYTES`, or a damaged one; nothing of the
    file runs.
    """
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{path}: has {path.stat().st_size:,} bytes; pickles of at most {MOST_BYTES:,} are read.")
    content = path.read_bytes()
    try:
        for operation, argument, _ in pickletools.genops(content):
            if operation.name not in PLAIN:
                raise DataError(
                    f"{path}: its pickle has the operation {operation.name}, which plain captions never need, so it "
                    "was not loaded. Export the captions as JSON where you trust the file."
                )
            # The memo grows to the largest number: a small file must not ask for gigabytes.
            if operation.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(content):
                raise DataError(f"{path}: is a damaged pickle (memo number {argument}).")
        with path.open("rb") as file:
            return _Unpickler(file, encoding="utf-8").load()
    except _DAMAGE as error:
        raise DataError(f"{path}: is a damaged pickle ({type(error).__name__}: {error}).") from error
