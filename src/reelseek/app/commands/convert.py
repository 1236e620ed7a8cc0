"""`reelseek convert`: weights of any known layout into a folder that every command reads."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from reelseek.app.terminal import parser
from reelseek.errors import ConfigError


def parse(words: Sequence[str]) -> Namespace:
    """SOURCE TARGET."""
    options = parser(
        "convert",
        "Read weights from OpenAI's .pt, open_clip, CLIP4Clip or GARE state dicts (no code of the file runs) and write "
        "a folder: CLIP alone as transformers has it, CLIP4Clip and GARE as a whole method with its towers. Every "
        "command also takes such a file as its model, with the options below at their defaults.",
    )
    options.add_argument("source", metavar="SOURCE", help="a weights file")
    options.add_argument("target", metavar="TARGET", help="the folder to write")
    options.add_argument(
        "--activation",
        default="quick_gelu",
        choices=["quick_gelu", "gelu"],
        help="gelu for open_clip weights that were not trained with OpenAI's activation; the file does not say which",
    )
    options.add_argument(
        "--method",
        default="",
        metavar="NAME",
        help="what scores, if not what the names in the file say: gare-baseline, whose files have clip4clip's names",
    )
    options.add_argument(
        "--no-temporal",
        action="store_true",
        help="leave out the temporal module that the file holds, as GARE's authors do on MSVD",
    )
    options.add_argument(
        "--temperature",
        type=float,
        default=3.0,
        metavar="X",
        help="GARE: of the frame weights; 3 as released",
    )
    options.add_argument(
        "--padding",
        default="masked",
        choices=["masked", "counted"],
        help="GARE: counted lets padded frames into the mean and the attention, as the released code does",
    )
    options.add_argument(
        "--side",
        default="text",
        choices=["text", "video"],
        help="GARE: which side the increment corrects, as in training: the video on ActivityNet, by the paper",
    )
    options.add_argument(
        "--context",
        default="frames",
        choices=["frames", "words"],
        help="GARE: what the increment's attention looks at, as in training: words on ActivityNet, by the paper",
    )
    options.add_argument("--sign", type=int, default=1, choices=[1, -1], help="GARE: sign of the gap, as in training")
    options.add_argument(
        "--frames",
        type=int,
        default=12,
        metavar="N",
        help="CLIP4Clip and GARE: most frames of a video, as in training: 12, or 64 for DiDeMo and ActivityNet",
    )
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Convert and list what did not fit."""
    from reelseek.methods.peers import Reading
    from reelseek.methods.pretrained import convert_file

    if not arguments.temperature > 0:
        raise ConfigError(f"--temperature must be above 0, not {arguments.temperature}.")
    if arguments.frames < 1:
        raise ConfigError(f"--frames must be at least 1, not {arguments.frames}.")
    reading = Reading(
        activation=arguments.activation,
        method=arguments.method,
        temporal=not arguments.no_temporal,
        frame_temperature=arguments.temperature,
        padding=arguments.padding,
        frames=arguments.frames,
        side=arguments.side,
        context=arguments.context,
        sign=arguments.sign,
    )
    report = convert_file(arguments.source, arguments.target, reading=reading)
    print(f"{arguments.source}: {report.layout} layout, written to {arguments.target}")
    for name, keys in (("missing", report.missing), ("unexpected", report.unexpected)):
        print(f"{name}: {len(keys)}" + "".join(f"\n  {key}" for key in keys))
    print(f"activation: {arguments.activation}, which no weights file states")
    if report.note:
        print(report.note)
    return 0
