"""The scan of one query as one pass over float16 vectors, compiled by LLVM. Imported only where llvmlite is installed.

In LLVM's own language and not in Python by numba: that takes half a second and 60 MB more to load, and knows no float16
on processors.
Shapes: N frames, D width.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from typing import Any

import torch
from llvmlite import binding
from torch import Tensor

STEP = 64
"""Numbers that are widened and added at a time: as many sums side by side as a processor keeps in registers."""

# The order in which products are added up is free; no rule about NaN or infinity is given up.
_PROGRAM = f"""
declare <{STEP} x float> @llvm.fmuladd.v{STEP}f32(<{STEP} x float>, <{STEP} x float>, <{STEP} x float>)
declare float @llvm.vector.reduce.fadd.v{STEP}f32(float, <{STEP} x float>)

define void @cosines(ptr %frames, ptr %inverse_norms, ptr %query, ptr %cosines, i64 %count, i64 %width) {{
start:
  %whole = and i64 %width, {-STEP}
  br label %frame

frame:
  %n = phi i64 [0, %start], [%next_n, %done]
  %in_range = icmp slt i64 %n, %count
  br i1 %in_range, label %read, label %end

read:
  %first = mul i64 %n, %width
  %row = getelementptr half, ptr %frames, i64 %first
  br label %step

step:
  %d = phi i64 [0, %read], [%next_d, %add]
  %sums = phi <{STEP} x float> [zeroinitializer, %read], [%more, %add]
  %left = icmp ult i64 %d, %whole
  br i1 %left, label %add, label %sum

add:
  %at = getelementptr half, ptr %row, i64 %d
  %halves = load <{STEP} x half>, ptr %at, align 2
  %wide = fpext <{STEP} x half> %halves to <{STEP} x float>
  %other_at = getelementptr float, ptr %query, i64 %d
  %other = load <{STEP} x float>, ptr %other_at, align 4
  %more = call <{STEP} x float> @llvm.fmuladd.v{STEP}f32(<{STEP} x float> %wide, <{STEP} x float> %other,
                                                      <{STEP} x float> %sums)
  %next_d = add i64 %d, {STEP}
  br label %step

sum:
  %summed = call reassoc float @llvm.vector.reduce.fadd.v{STEP}f32(float 0.0, <{STEP} x float> %sums)
  br label %rest

rest:
  %r = phi i64 [%whole, %sum], [%next_r, %add_one]
  %total = phi float [%summed, %sum], [%total_and_one, %add_one]
  %some = icmp ult i64 %r, %width
  br i1 %some, label %add_one, label %done

add_one:
  %one_at = getelementptr half, ptr %row, i64 %r
  %one_half = load half, ptr %one_at, align 2
  %one = fpext half %one_half to float
  %other_one_at = getelementptr float, ptr %query, i64 %r
  %other_one = load float, ptr %other_one_at, align 4
  %product = fmul float %one, %other_one
  %total_and_one = fadd float %total, %product
  %next_r = add i64 %r, 1
  br label %rest

done:
  %inverse_at = getelementptr float, ptr %inverse_norms, i64 %n
  %inverse = load float, ptr %inverse_at, align 4
  %cosine = fmul float %total, %inverse
  %cosine_at = getelementptr float, ptr %cosines, i64 %n
  store float %cosine, ptr %cosine_at, align 4
  %next_n = add i64 %n, 1
  br label %frame

end:
  ret void
}}
"""


def _compiled() -> tuple[Any, Callable[..., None]]:
    """What owns the machine code, and the code. Raises RuntimeError where there can be none."""
    features = binding.get_host_cpu_features()
    if not (features.get("f16c") or platform.machine() in ("aarch64", "arm64")):
        raise RuntimeError("No instruction turns float16 to float32: LLVM would call a function that may not be there.")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features.flatten(), opt=3)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(_PROGRAM), machine)
    engine.finalize_object()
    arguments = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 2
    return engine, ctypes.CFUNCTYPE(None, *arguments)(engine.get_function_address("cosines"))


_ENGINE, _CODE = _compiled()


def cosines(frames_ND: Tensor, inverse_norms_N: Tensor, query_D: Tensor, cosines_N: Tensor) -> None:
    """Fill [N] with the cosines of float16 vectors with a query of length 1, float32 all but the vectors.

    Threads may be at it side by side: Python's lock is released. Raises ValueError for other types or shapes, or a
    tensor with gaps: the code would read beyond it.
    """
    count, width = frames_ND.shape
    half, whole = torch.float16, torch.float32
    wanted = [(half, (count, width)), (whole, (count,)), (whole, (width,)), (whole, (count,))]
    parts = (frames_ND, inverse_norms_N, query_D, cosines_N)
    flat = all(part.is_contiguous() and part.device.type == "cpu" for part in parts)
    if not flat or [(part.dtype, part.shape) for part in parts] != wanted:
        raise ValueError("A scan reads float16 vectors [N, D] and float32 numbers [N], [D], [N], each without gaps.")
    _CODE(*(part.data_ptr() for part in parts), count, width)
