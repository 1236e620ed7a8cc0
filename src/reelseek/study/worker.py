"""A process of a study: `python -m reelseek.study.worker OUT DEADLINE PARENT`, started by `reelseek.study.grid`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from reelseek.study.grid import read_plan, work


def main(words: list[str]) -> int:
    """Take runs of the study in OUT until none is left, DEADLINE (seconds since the epoch) or the end of PARENT."""
    torch.set_num_interop_threads(1)
    try:
        work(read_plan(Path(words[0])), float(words[1]), lambda: None, parent=int(words[2]))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
