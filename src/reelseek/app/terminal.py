"""What the commands share on a terminal: option parsing with suggestions, progress bars, tables.

Not a terminal (a pipe, a log): progress becomes a plain line now and then, tables stay tables.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import NoReturn

import jsonargparse

from reelseek.errors import ConfigError
from reelseek.records import BrokenFile

Progress = Callable[[int, int], None]
UNFOLDED = 10_000
"""Columns of a table that no terminal shows: what reads a pipe wants a row a line."""


@contextmanager
def told_aside(aside: bool) -> Iterator[None]:
    """What is printed for people goes to stderr where stdout is for a program (`--json`)."""
    with redirect_stdout(sys.stderr) if aside else nullcontext():
        yield


class Parser(jsonargparse.ArgumentParser):
    """An argument parser whose refusals are one sentence and name the nearest known option."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the sentence to stderr and leave with exit code 2."""
        names = {a.dest: a.option_strings[-1] if a.option_strings else str(a.metavar) for a in self._actions}
        sentence = _with_suggestion(_plain(message, names), self.option_names())
        print(f"{self.prog}: {printable(sentence)}", file=sys.stderr)
        raise SystemExit(2)

    def parse_args(self, args: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]
        """The options that words give. One with hyphens may be spelled with underscores, as settings are."""
        return super().parse_args([self._hyphened(word) for word in args])

    def _hyphened(self, word: str) -> str:
        name, equals, value = word.partition("=")
        meant = name.replace("_", "-")
        known = self._option_string_actions
        return f"{meant}{equals}{value}" if name not in known and meant in known else word

    def option_names(self) -> list[str]:
        """Every long option of this parser that can be given."""
        return [name for name in self._option_string_actions if name.startswith("--")]


class _Help(jsonargparse.DefaultHelpFormatter):
    """Help that tells a default where there is one to tell, and no types."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        told = action.option_strings and action.default not in (None, "", [], argparse.SUPPRESS)
        told = told and action.default is not False and "(default: " not in text  # the parsing library may ask twice
        return f"{text} (default: %(default)s)".lstrip() if told else text


def parser(command: str, description: str) -> Parser:
    """The parser of one command."""
    return Parser(
        prog=f"reelseek {command}",
        description=description,
        allow_abbrev=False,
        formatter_class=_Help,
    )


KINDS = {"<class 'int'>": "a whole number", "<class 'float'>": "a number", "<class 'bool'>": "true or false"}


def add_device(options: Parser) -> None:
    """The option that says where a model runs."""
    options.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"], help="where it runs")


def refuse_file(out: Path) -> None:
    """Raise ConfigError where --out names a file instead of a folder to write into."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: it is a file, not a folder.")


def _plain(message: str, names: Mapping[str, str]) -> str:
    """What the parsing library says, in words that need no knowledge of it."""
    text = " ".join(message.split()).rstrip(".")
    if wrong := re.fullmatch(r"Parser key \"([\w.]+)\": Expected a (.+)\. Got value: ?(.*)", text):
        choices = re.fullmatch(r"typing\.Literal\[(.+)\]", wrong[2])
        wanted = f"one of {choices[1].replace(chr(39), '')}" if choices else KINDS.get(wrong[2], wrong[2])
        return f"{wrong[1]} must be {wanted}, not {wrong[3]!r}"
    if absent := re.fullmatch(r"the following arguments are required: (.+)", text):
        needed = [names.get(name, name) for name in absent[1].split(", ")]
        return f"{' and '.join(needed)} {'is' if len(needed) == 1 else 'are'} needed, see --help"
    if gone := re.search(r"File does not exist: '(.+)'", text):
        return f"--config: there is no file {gone[1]}"
    if "parsing config" in text or "Unexpected config" in text or "Unable to load config" in text:
        reason = text.split(": ", 1)[-1].replace("<unicode string>", "the file")
        return f"--config: it must be YAML with settings by section, as in `train: {{epochs: 3}}` ({reason})"
    return text


def _with_suggestion(text: str, options: Sequence[str]) -> str:
    unknown = (
        re.findall(r"--([\w.-]+)", text)
        if "nrecognized" in text
        else re.findall(r"(?:[Kk]ey|[Oo]ption) '([\w.-]+)'", text)
    )
    group = re.search(r"Group '([\w.]+)'", text)
    names = [option.removeprefix("--") for option in options]
    for word in unknown:
        whole = f"{group[1]}.{word}" if group else word
        section, _, last = whole.rpartition(".")
        siblings = [name.removeprefix(f"{section}.") for name in names if section and name.startswith(f"{section}.")]
        near = difflib.get_close_matches(last if siblings else whole, siblings or names, n=1, cutoff=0.5)
        if near:
            dashes = "--" if f"--{word}" in text else ""
            return f"{text}. Did you mean {dashes}{f'{section}.' if siblings else ''}{near[0]}?"
        if siblings:
            return f"{text}. The settings of {section} are {', '.join(siblings)}."
    return f"{text}."


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """A bar on a terminal, a line every ten seconds elsewhere; yields a function of (done, total). Writes to stderr."""
    if not sys.stderr.isatty():
        yield _plain_progress(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=Console(stderr=True))

    def tell(done: int, total: int) -> None:
        if not bars.task_ids:  # a stage that has nothing to do shows no bar
            bars.add_task(title)
            bars.start()
        bars.update(bars.task_ids[0], completed=done, total=total)

    try:
        yield tell
    finally:
        bars.stop()


def _plain_progress(title: str) -> Progress:
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last > 10:
            last = now
            print(f"{title}: {done} of {total}", file=sys.stderr, flush=True)

    return tell


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    dim: bool = False,
) -> None:
    """Print a table to stdout; `right` numbers the columns set flush right, `dim` greys the rows on a terminal."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if title:
        print(title)
    sheet = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, column in enumerate(columns):
        sheet.add_column(escape(column), justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        sheet.add_row(*(escape(cell) for cell in row), style="dim" if dim else None)
    width = None if sys.stdout.isatty() else UNFOLDED
    Console(width=width, highlight=False).print(sheet)


def clock(seconds: float) -> str:
    """Seconds as a person reads them: 0:07.5, 1:02:03."""
    whole, part = divmod(round(seconds * 10), 10)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{left:02d}"
    return f"{minutes}:{left:02d}.{part}"


def short(path: str) -> str:
    """A path as seen from the working directory where that is shorter, safe to print."""
    return printable(min(os.path.relpath(path), path, key=len))


def tell_broken(files: Iterable[BrokenFile]) -> None:
    """Name on stderr every file that was set aside, with its reason."""
    for broken in files:
        print(f"set aside: {printable(broken.reason)}", file=sys.stderr)


def printable(path: str) -> str:
    """A file name that cannot harm a terminal: control characters and undecodable bytes are escaped."""
    return "".join(ch if ch.isprintable() else ascii(ch)[1:-1] for ch in path)
