"""The command line: a dict of commands, each a small module that is imported only when it runs.

Exit codes: 0 done (files set aside are counted on stderr), 1 failed or refused, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
from collections.abc import Sequence

GOES_ON = ("demo", "embed", "index", "study", "train")
"""Commands that, given again, go on where they were stopped."""

COMMANDS: dict[str, str] = {
    "demo": "index real clips, search them, train and compare methods, write a report",
    "embed": "run videos and captions of a benchmark through the frozen towers once, into a cache",
    "index": "make or update the index of folders of videos; list, remove, compact, switch, rollback",
    "search": "find videos and moments by text, a picture or a clip",
    "mark": "say of an answer of a search whether it is right; list what was said",
    "adapt": "learn from marks and captions, and switch only if held-out queries say that it helps",
    "mcp": "answer an assistant that speaks the Model Context Protocol",
    "serve": "serve the search page, and its HTTP interface, on this machine",
    "towers": "write small untrained towers, for training from nothing on data of one's own kind",
    "train": "train a method by recipe, for instance gare-msrvtt",
    "evaluate": "score a trained run or a zero-shot model on a test split, or an index by its marks; compare two",
    "study": "run a grid of trainings over seeds, and write one page with intervals and plots",
    "diagnose": "measure a run's space: gradient conflict, modality gap, increments, with a picture",
    "convert": "turn weights of CLIP, CLIP4Clip or GARE into a folder that every command reads",
    "report": "make a page of results.json",
    "doctor": "say what this machine and installation can do, and what is missing",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started the command
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may hold bytes that no encoding has letters for
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"] and len(words) > 1:
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        from reelseek import __version__

        print(f"reelseek {__version__}")
        return 0
    name = words[0]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {near[0]}?" if near else f" The commands are {', '.join(COMMANDS)}."
        print(f"reelseek: there is no command {name!r}.{hint}", file=sys.stderr)
        return 2
    return _run(name, words[1:])


def usage() -> str:
    """The text of `reelseek --help`."""
    lines = ["usage: reelseek COMMAND ...", "", "Text-video retrieval you can train, trust and use.", ""]
    lines += [f"  {name:<9} {summary}" for name, summary in COMMANDS.items()]
    return "\n".join([*lines, "", "reelseek COMMAND --help tells a command's options."])


def _run(name: str, words: list[str]) -> int:
    from reelseek.errors import ConfigError, ReelseekError

    command = importlib.import_module(f"reelseek.app.commands.{name}")
    try:
        arguments = command.parse(words)
        code: int = command.run(arguments)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: 0 after --help, 2 after wrong usage
        return int(stop.code or 0)
    except ConfigError as error:
        _say(name, str(error))
        return 2
    except ReelseekError as error:
        _say(name, str(error))
        return 1
    except KeyboardInterrupt:
        _say(name, "interrupted; the same command goes on from here" if name in GOES_ON else "interrupted")
        return 130
    except BrokenPipeError:  # the reader of a pipe went away: nothing is left to say to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full or read-only disk, wherever it is met
        place = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        _say(name, f"{place}{error.strerror or error}")
        return 1


def _say(name: str, sentence: str) -> None:
    from reelseek.app.terminal import printable

    end = "" if sentence.endswith((".", "?", "!")) else "."
    print(f"reelseek {name}: {printable(sentence)}{end}", file=sys.stderr)
