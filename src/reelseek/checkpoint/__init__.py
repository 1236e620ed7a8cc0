"""Runs on disk, and weights of other projects: read without running their code, mapped to one layout."""

from __future__ import annotations

from reelseek.checkpoint.runs import kind_of, load_run, save_run

__all__ = ["kind_of", "load_run", "save_run"]
