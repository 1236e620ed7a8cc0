"""`reelseek doctor`: what this machine and installation can do, and what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence

from reelseek.app.terminal import parser, table
from reelseek.errors import ReelseekError

PARTS = ("torch", "av", "pylance", "tokenizers", "safetensors", "fastapi", "lightning-fabric")
DEVELOPING = ("bench", "dev", "docs")
"""Extras for work on reelseek itself."""


def parse(words: Sequence[str]) -> Namespace:
    """[--json]."""
    options = parser("doctor", "Check this installation and say what to do about what is missing.")
    options.add_argument("--json", action="store_true", help="print the checks as JSON")
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Print one line a check; exit code 1 if something needed is missing."""
    rows = [
        ("python", f"{sys.version.split()[0]} ({sys.platform})", "ok"),
        *(_version(part) for part in PARTS),
        *_extras(),
        *(_check(name, check) for name, check in CHECKS.items()),
    ]
    if arguments.json:
        print(json.dumps([{"part": part, "found": found, "state": state} for part, found, state in rows]))
    else:
        table("reelseek doctor", ["part", "found", ""], rows)
    missing = [row for row in rows if row[2] == "MISSING"]
    if missing:
        print("Install again with `pip install reelseek`, or see the lines above.", file=sys.stderr)
    return 1 if missing else 0


def _version(part: str) -> tuple[str, str, str]:
    try:
        return part, importlib.metadata.version(part), "ok"
    except importlib.metadata.PackageNotFoundError:
        return part, "not installed", "MISSING"


def _extras() -> Iterator[tuple[str, str, str]]:
    """A row for every extra of the installed package: its packages with their versions, or what to install."""
    try:
        needs = importlib.metadata.requires("reelseek") or []
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return
    packages: dict[str, list[str]] = {}
    for need in needs:
        name, extra = re.match(r"[\w.-]+", need), re.search(r"extra == ['\"]([\w-]+)['\"]", need)
        if name and extra and extra[1] not in DEVELOPING:
            packages.setdefault(extra[1], []).append(name[0])
    for key, names in sorted(packages.items()):
        rows = [_version(name) for name in names]
        absent = [name for name, _, state in rows if state != "ok"]
        advice = f'{" and ".join(absent)} not installed: pip install "reelseek[{key}]"'
        found = ", ".join(f"{name} {version}" for name, version, _ in rows)
        yield f"extra {key}", advice if absent else found, "absent" if absent else "ok"


def _check(name: str, check: Callable[[], str]) -> tuple[str, str, str]:
    try:
        return name, check(), "ok"
    except (ReelseekError, ImportError, OSError) as error:
        return name, str(error), "MISSING"


def _processor() -> str:
    import torch

    from reelseek.app.results import machine

    facts = machine()
    devices = ["cpu"]
    devices += [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    return f"{facts['cpu']}, {facts['cores']} cores, torch on {facts['threads']} threads; devices: {', '.join(devices)}"


def _offline() -> str:
    import torch

    from reelseek.encoders.offline import OfflineBackbone

    backbone = OfflineBackbone()
    spec = backbone.preprocess
    pixels = torch.zeros(16, 3, spec.crop, spec.crop)
    backbone.encode_frames(pixels)
    begun = time.perf_counter()
    backbone.encode_frames(pixels)
    return f"weights found, {16 / (time.perf_counter() - begun):.0f} frames a second"


def _hub() -> str:
    offline = os.environ.get("HF_HUB_OFFLINE", "")
    home = os.environ.get("HF_HOME", os.path.expanduser("~/.cache/huggingface"))
    kept = os.path.join(home, "hub")
    models = [name for name in os.listdir(kept) if name.startswith("models--")] if os.path.isdir(kept) else []
    mode = "HF_HUB_OFFLINE is set" if offline not in ("", "0") else "the hub is asked when a name is not cached"
    return f"{len(models)} models in {kept}; {mode}"


def _disk() -> str:
    return f"{shutil.disk_usage('.').free / 2**30:.0f} GiB free here"


CHECKS: dict[str, Callable[[], str]] = {
    "processor": _processor,
    "offline encoders": _offline,
    "model hub": _hub,
    "disk": _disk,
}
