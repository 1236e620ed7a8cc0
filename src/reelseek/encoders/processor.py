"""What this processor computes by instructions of its own."""

from __future__ import annotations

import sys
from typing import Any

import torch


def computes_bf16() -> bool:
    """Whether this processor multiplies bfloat16 itself; elsewhere torch converts, and float32 is faster."""
    known: Any = getattr(torch.cpu, "get_capabilities", None)
    if known is None:  # older releases of torch
        ask: Any = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return bool(ask())
    # Of ARM processors those of servers: whether torch is fast with it elsewhere was not measured.
    names = ("avx512_bf16", "amx_bf16", *(["bf16"] if sys.platform == "linux" else []))
    return any(known().get(name, False) for name in names)
