"""What the commands share on a terminal: option parsing with suggestions, progress bars, tables.

Not a terminal (a pipe, a log): progress becomes a plain line now and then, tables stay tables.
"""

from __future__ import annotations

import difflib
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import jsonargparse

Progress = Callable[[int, int], None]


class Parser(jsonargparse.ArgumentParser):
    """An argument parser whose refusals are one sentence and name the nearest known option."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the sentence to stderr and leave with exit code 2."""
        print(f"{self.prog}: {_with_suggestion(message, self.option_names())}", file=sys.stderr)
        raise SystemExit(2)

    def option_names(self) -> list[str]:
        """Every long option of this parser."""
        return [text for action in self._actions for text in action.option_strings if text.startswith("--")]


def parser(command: str, description: str) -> Parser:
    """The parser of one command."""
    return Parser(prog=f"reelseek {command}", description=description, allow_abbrev=False)


def _with_suggestion(message: str, known: Sequence[str]) -> str:
    text = " ".join(message.split()).rstrip(".")
    unknown = (
        re.findall(r"--([\w.-]+)", text)
        if "nrecognized" in text
        else re.findall(r"(?:[Kk]ey|option) '([\w.-]+)'", text)
    )
    group = re.search(r"Group '([\w.]+)'", text)
    names = [option.removeprefix("--") for option in known]
    for word in unknown:
        near = difflib.get_close_matches(f"{group[1]}.{word}" if group else word, names, n=1, cutoff=0.5)
        if near:
            return f"{text}. Did you mean {near[0]}?"
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
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _plain_progress(title: str) -> Progress:
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last > 10:
            last = now
            print(f"{title}: {done} of {total}", file=sys.stderr, flush=True)

    return tell


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table to stdout; `right` numbers the columns set flush right."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    sheet = Table(title=escape(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        sheet.add_column(escape(column), justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        sheet.add_row(*(escape(cell) for cell in row))
    width = None if sys.stdout.isatty() else 120
    Console(width=width, highlight=False).print(sheet)


def clock(seconds: float) -> str:
    """Seconds as a person reads them: 0:07.5, 1:02:03."""
    whole, part = divmod(round(seconds * 10), 10)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{left:02d}"
    return f"{minutes}:{left:02d}.{part}"


def printable(path: str) -> str:
    """A file name that cannot harm a terminal: control characters and undecodable bytes are escaped."""
    return "".join(ch if ch.isprintable() else ascii(ch)[1:-1] for ch in path)
