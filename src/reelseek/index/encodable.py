"""What is told as JSON, fit for every reader: file names are bytes, and JSON holds text.

A byte of a name that is no UTF-8 is a lone surrogate in Python. JSON could spell it (`\\udce9`), but many readers then
refuse the whole file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_from_bytes

PATHS = ("path", "was")
"""Keys of file names. Beside one that had to be escaped stands `path_encoded` or `was_encoded`: its exact bytes,
percent-encoded (RFC 3986, `/` as it is)."""


def encodable(value: Any) -> Any:
    """Values of JSON with lone surrogates written as escapes, in texts at any depth; see also `PATHS`."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list | tuple):
        return [encodable(part) for part in value]
    if not isinstance(value, Mapping):
        return value
    told = {encodable(key): encodable(part) for key, part in value.items()}
    for name in PATHS:
        path = value.get(name)
        if isinstance(path, str) and path != told[name]:
            told[f"{name}_encoded"] = quote_from_bytes(os.fsencode(path))
    return told
