"""What the commands share on a terminal: bars, tables, times and names that are safe to print."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from reelseek.app.terminal import clock, printable, progress, short, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_appears_with_the_first_step_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with progress("nothing to do"):
        pass
    assert sys.stderr.getvalue() == ""
    with progress("some work") as tell:
        tell(1, 4)
        tell(4, 4)
    assert "some work" in sys.stderr.getvalue()
    assert "4/4" in sys.stderr.getvalue()


def test_off_a_terminal_progress_is_a_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("work") as tell:
        for number in range(1, 6):
            tell(number, 5)
    assert capsys.readouterr() == ("", "work: 5 of 5\n")


def test_a_pipe_gets_a_row_a_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    long = "/x" * 300
    table("Title [not markup]", ["path", "n"], [(long, "1"), ("[red]b", "22")], right=[1])
    title, head, _, first, second = capsys.readouterr().out.splitlines()
    assert title == "Title [not markup]"
    assert head.split() == ["path", "n"]
    assert first == f"{long}    1"
    assert second.split() == ["[red]b", "22"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00.0"), (7.46, "0:07.5"), (59.96, "1:00.0"), (61, "1:01.0"), (3599.99, "1:00:00"), (3723.4, "1:02:03")],
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_names_cannot_write_to_the_terminal_as_they_like() -> None:
    assert printable("a\x1b[31mb\n\udcff\u202ec é 猫") == "a\\x1b[31mb\\n\\udcff\\u202ec é 猫"


def test_a_path_is_told_in_its_shorter_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert short(str(tmp_path / "a" / "b.mp4")) == "a/b.mp4"
    assert short("/tmp") == "/tmp"
