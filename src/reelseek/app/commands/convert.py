"""`reelseek convert`: CLIP weights of any known layout into a folder that every command reads."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from reelseek.app.terminal import parser


def parse(words: Sequence[str]) -> Namespace:
    """SOURCE TARGET."""
    options = parser(
        "convert",
        "Read weights from OpenAI's .pt, open_clip, CLIP4Clip or GARE state dicts (no code of the file runs) and write "
        "a folder with config.json and model.safetensors.",
    )
    options.add_argument("source", metavar="SOURCE", help="a weights file")
    options.add_argument("target", metavar="TARGET", help="the folder to write")
    options.add_argument(
        "--activation",
        default="quick_gelu",
        choices=["quick_gelu", "gelu"],
        help="gelu for open_clip weights that were not trained with OpenAI's activation; the file does not say which",
    )
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Convert and list what did not fit."""
    from reelseek.checkpoint.convert import convert

    report = convert(Path(arguments.source), Path(arguments.target), activation=arguments.activation)
    print(f"{arguments.source}: {report.layout} layout, written to {arguments.target}")
    for name, keys in (("missing", report.missing), ("unexpected", report.unexpected)):
        print(f"{name}: {len(keys)}" + "".join(f"\n  {key}" for key in keys))
    print(f"activation: {arguments.activation}, which no weights file states")
    if report.note:
        print(report.note)
    return 0
