"""The scan of one query as one pass over float16 vectors, compiled by numba. Imported only where numba is installed.

numba has no float16 on processors: the numbers come as their 16 bits, and one instruction (a vector one, once LLVM has
unrolled the loop) makes float32 of them.
Shapes: N frames, D width.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.extending import intrinsic

F32 = np.float32
# No rule about NaN or infinity is given up.
_FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}


def can_widen():
    """Whether this processor has the instruction: without it LLVM would call a function that may not be there."""
    return platform.machine() in ("aarch64", "arm64") or bool(binding.get_host_cpu_features().get("f16c", False))


def _widen(_context, _bits):
    def generate(_context, builder, _signature, arguments):
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


_float32: Any = intrinsic(_widen)


@njit(nogil=True, fastmath=_FAST, cache=True)
def cosines(bits_ND, inverse_norms_N, query_D, out_N):
    """Fill [N] with the cosines of float16 vectors, given as uint16, with a query of length 1."""
    for n in range(len(bits_ND)):
        row_D = bits_ND[n]
        total = F32(0.0)
        for d in range(len(query_D)):
            total += _float32(row_D[d]) * query_D[d]
        out_N[n] = total * inverse_norms_N[n]
