"""What is told as JSON, fit for every reader: file names are bytes, and JSON holds text.

A byte of a name that is no UTF-8 is a lone surrogate in Python. JSON could spell it (`\\udce9`), but many readers then
refuse the whole file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_from_bytes

ENCODED = "path_encoded"
"""Beside a `path` that had to be escaped: its exact bytes, percent-encoded (RFC 3986, `/` as it is)."""


def encodable(value: Any) -> Any:
    """Values of JSON with lone surrogates written as escapes, in texts at any depth; see also `ENCODED`."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list | tuple):
        return [encodable(part) for part in value]
    if not isinstance(value, Mapping):
        return value
    told = {encodable(key): encodable(part) for key, part in value.items()}
    path = value.get("path")
    if isinstance(path, str) and path != told["path"]:
        told[ENCODED] = quote_from_bytes(os.fsencode(path))
    return told
