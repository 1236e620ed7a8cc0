"""Which files may answer a query: by folder, date, length, and by the columns of a table of one's own.

Filters hold before anything is ranked. Not here: the search itself (`reelseek.index.ask`).
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from operator import ge, gt, le, lt
from pathlib import Path
from typing import NamedTuple

from reelseek.errors import ConfigError, DataError
from reelseek.index.plan import below, with_folders
from reelseek.index.query import parse_seconds
from reelseek.index.store import IndexedFile

NAMING = ("path", "video")
"""Columns of a table that name the file, the first that is there."""
ORDER = {"<": lt, "<=": le, ">": gt, ">=": ge}
SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    partial(unicodedata.normalize, "NFC"),  # a disk may hold é as e and an accent, a keyboard types it as one letter
    lambda name: unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()),
)
"""How names of a table and of files are compared, one after the other where none has been found."""
DAY = r"\d{4}-\d{2}-\d{2}"


class Condition(NamedTuple):
    """What a column of the metadata must hold. sign: one of = != < <= > >=."""

    column: str
    sign: str
    value: str

    def holds(self, cell: str, *, decimal_comma: bool = False) -> bool | None:
        """Whether a cell passes. Two numbers compare as numbers, two dates as `parse_time` reads them; a condition on a
        day is one on the cell's day. Other text is the same without regard to case.

        None for a cell that < <= > >= cannot compare: they take numbers and dates alone. An empty cell passes nothing
        but `= ` with nothing. decimal_comma: whether 4,5 is a number.
        """
        mine, wanted = _number(cell, decimal_comma), _number(self.value, decimal_comma)
        if wanted is None:
            mine, wanted = _time(cell), _time(self.value)
            if mine is not None and wanted is not None and re.fullmatch(DAY, self.value):
                mine = _day(mine)
        if self.sign in ORDER:
            if not cell.strip():
                return False
            return None if mine is None or wanted is None else ORDER[self.sign](mine, wanted)
        if mine is not None and wanted is not None:
            equal = mine == wanted
        else:
            equal = cell.strip().casefold() == self.value.strip().casefold()
        return equal if self.sign == "=" else bool(cell.strip()) and not equal

    def compares(self, *, decimal_comma: bool = False) -> bool:
        """Whether the value is one that the sign can compare cells with."""
        return self.sign not in ORDER or (_number(self.value, decimal_comma), _time(self.value)) != (None, None)


class Matched(NamedTuple):
    """The rows of a table by the files that they name; and every row left out since it is not clear whose it is, with
    what is wrong in a sentence. unnamed: lines of the rows that name no file.
    """

    rows: Mapping[Path, Mapping[str, str]]
    unclear: Sequence[tuple[Mapping[str, str], str]]
    unnamed: Sequence[int]


class Metadata:
    """A table about videos: its file, its columns, and its rows with their line numbers.

    decimal_comma: whether 4,5 is a number in it.
    """

    def __init__(
        self,
        source: Path,
        columns: tuple[str, ...],
        rows: tuple[tuple[int, Mapping[str, str]], ...],
        *,
        decimal_comma: bool = False,
    ) -> None:
        self.source, self.columns, self.rows, self.decimal_comma = source, columns, rows, decimal_comma
        self.naming = next(name for name in NAMING if name in columns)
        self._matched: tuple[Mapping[str, IndexedFile], Matched] | None = None

    def of_files(self, files: Mapping[str, IndexedFile]) -> Matched:
        """The row of every file that has one. Kept for the next call with the same mapping, which must not change.

        A row names a file by its path, by the end of its path, and with or without the ending of the name: `a`, `a.mp4`
        and `holiday/a.mp4` all name /films/holiday/a.mp4. Where no file has the name as it is written, letters count
        that are the same in Unicode (NFC), and then those that differ in case alone; a file that another row names more
        exactly is not meant. Files of equal content may share a row. A row that names different videos is unclear, and
        so are two rows for one file.
        """
        if self._matched is None or self._matched[0] is not files:
            self._matched = files, self._match(files)
        return self._matched[1]

    def note(self, files: Mapping[str, IndexedFile]) -> str:
        """A sentence where rows name no file; "" where all do."""
        unnamed = self.of_files(files).unnamed
        if not unnamed:
            return ""
        return (
            f"{self.source}: {len(unnamed):,} of {len(self.rows):,} rows name no file of the index, the first in line "
            f"{unnamed[0]}."
        )

    def _match(self, files: Mapping[str, IndexedFile]) -> Matched:
        lines: dict[Path, list[tuple[int, Mapping[str, str]]]] = {}
        unclear: list[tuple[Mapping[str, str], str]] = []
        left, named_so_far = list(self.rows), set[Path]()
        for spelt in SPELLINGS:
            by_name: dict[str, list[IndexedFile]] = {}
            for file in files.values():
                if left and file.path not in named_so_far:
                    for name in {file.path.name, file.path.stem}:
                        by_name.setdefault(spelt(name), []).append(file)
            rows, left = left, []
            for line, row in rows:
                named = Path(spelt(row[self.naming]))
                fits = [file for file in by_name.get(named.name, []) if names_file(named, Path(spelt(str(file.path))))]
                if not fits:
                    left.append((line, row))
                elif len({file.content_hash for file in fits}) > 1:
                    names = f"names {len(fits)} files, {fits[0].path} and {fits[1].path}: write more of the path."
                    unclear.append((row, f"{self.source}, line {line}: {row[self.naming]} {names}"))
                else:
                    for file in fits:
                        lines.setdefault(file.path, []).append((line, row))
            named_so_far |= lines.keys()
        for path, own in lines.items():
            if len(own) > 1:
                wrong = f"{self.source}, lines {own[0][0]} and {own[1][0]}: both name {path}."
                unclear += [(row, wrong) for _, row in own]
        rows_by_file = {path: own[0][1] for path, own in lines.items() if len(own) == 1}
        return Matched(rows_by_file, unclear, [line for line, _ in left])


@dataclass(frozen=True)
class Filters:
    """Which files may answer; all that is given must hold.

    below: folders, one of which holds the file, or files. since, until: Unix times that the file's time of change is
    not before, and before. longer, shorter: lengths in seconds, inclusive. where: conditions on columns of `metadata`;
    a file without a row passes none.
    Raises ConfigError for bounds that exclude everything and for columns that are not there.
    """

    below: tuple[Path, ...] = ()
    since: float | None = None
    until: float | None = None
    longer: float | None = None
    shorter: float | None = None
    where: tuple[Condition, ...] = ()
    metadata: Metadata | None = None

    def __post_init__(self) -> None:
        bounds = (("since", self.since, "until", self.until), ("longer", self.longer, "shorter", self.shorter))
        for low_name, low, high_name, high in bounds:
            if any(value is not None and not math.isfinite(value) for value in (low, high)):
                raise ConfigError(f"{low_name} and {high_name} must be finite numbers, not {low} and {high}.")
            if low is not None and high is not None and low > high:
                raise ConfigError(f"{low_name} and {high_name} exclude every file: the first is above the second.")
        columns = () if self.metadata is None else self.metadata.columns
        for condition in self.where:
            if self.metadata is None:
                raise ConfigError(f"where {condition.column}: it needs a table with that column, see --metadata.")
            if condition.column not in columns:
                raise ConfigError(
                    f"where {condition.column}: {self.metadata.source} has no such column. It has {', '.join(columns)}."
                )
            if not condition.compares(decimal_comma=self.metadata.decimal_comma):
                raise _uncomparable(condition)

    def passing(self, files: Mapping[str, IndexedFile]) -> list[IndexedFile]:
        """The files that pass, in their order. files: by path.

        Raises ConfigError for a folder that holds none of them; with `where` DataError where no row names a file, for a
        row that all conditions hold of and that is unclear (see `Metadata.of_files`), and for one with a cell that a
        condition cannot compare, while the others hold.
        """
        places = [Path(os.path.abspath(place)) for place in self.below]
        inside = below(places)
        held = with_folders(file.path for file in files.values()) if places else set()
        for place in places:
            if str(place) not in held:
                raise ConfigError(f"below {place}: the index holds no file there. `reelseek index list` shows all.")
        rows = self._rows(files)
        return [
            file
            for file in files.values()
            if (not places or inside(file.path))
            and (self.since is None or file.mtime_ns >= self.since * 1e9)
            and (self.until is None or file.mtime_ns < self.until * 1e9)
            and (self.longer is None or file.duration >= self.longer)
            and (self.shorter is None or file.duration <= self.shorter)
            and (not self.where or (file.path in rows and self._holds(rows[file.path])))
        ]

    def _rows(self, files: Mapping[str, IndexedFile]) -> Mapping[Path, Mapping[str, str]]:
        if self.metadata is None or not self.where:
            return {}
        matched = self.metadata.of_files(files)
        for row, wrong in matched.unclear:
            if self._holds(row):
                raise DataError(wrong)
        if not matched.rows and not matched.unclear:
            raise DataError(f"{self.metadata.source}: its column {self.metadata.naming!r} names no file of the index.")
        return matched.rows

    def _holds(self, row: Mapping[str, str]) -> bool:
        """Whether all conditions hold of a row of the table."""
        assert self.metadata is not None
        held = [
            condition.holds(row[condition.column], decimal_comma=self.metadata.decimal_comma)
            for condition in self.where
        ]
        if False in held:
            return False
        if None in held:
            column, sign, value = self.where[held.index(None)]
            line = next(line for line, other in self.metadata.rows if other is row)
            raise DataError(
                f"{self.metadata.source}, line {line}: its {column} is {row[column]!r}, which {sign}{value} cannot be "
                "asked of: numbers compare with numbers, dates with dates as 2024-05-31. Correct it, or leave it empty."
            )
        return True


def read_metadata(path: Path) -> Metadata:
    """A CSV table with a header, UTF-8, comma or semicolon, with a column `path` or `video`.

    Where semicolons part the cells, a comma may stand before the fraction of a number, as spreadsheets write it.
    Raises DataError naming the line for a table that cannot be read so.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start:,}); save it as UTF-8.") from None
    header = text.split("\n", 1)[0]
    semicolons = header.count(";") > header.count(",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if semicolons else ",")
    try:
        columns = tuple(name.strip() for name in next(reader, []))
        if not set(NAMING) & set(columns):
            raise DataError(f"{path}: needs a column path or video that names the file; it has {_listed(columns)}.")
        if len(set(columns)) < len(columns):
            raise DataError(f"{path}: two of its columns have the same name: {_listed(columns)}.")
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                raise DataError(
                    f"{path}, line {reader.line_num}: it has {len(cells)} cells, the header has {len(columns)}."
                )
            rows.append((reader.line_num, dict(zip(columns, (cell.strip() for cell in cells), strict=True))))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: is no row of a CSV table ({error}).") from None
    return Metadata(path, columns, tuple(rows), decimal_comma=semicolons)


def parse_condition(text: str) -> Condition:
    """`camera=GoPro`, `rating>=4`: a column, one of = != < <= > >=, a value. Raises ConfigError for anything else."""
    found = re.fullmatch(r"([^=!<>]+)(<=|>=|!=|<|>|=)(.*)", text, re.DOTALL)
    if found is None or not found[1].strip():
        raise ConfigError(f"where {text!r}: write a column, a sign and a value, as in camera=GoPro or rating>=4.")
    condition = Condition(found[1].strip(), found[2], found[3].strip())
    if not condition.compares(decimal_comma=True):
        raise _uncomparable(condition)
    return condition


def parse_filters(
    *,
    below: Iterable[str] = (),
    since: str = "",
    until: str = "",
    longer: str = "",
    shorter: str = "",
    where: Iterable[str] = (),
    metadata: Metadata | None = None,
) -> Filters:
    """Filters from words, as a command line or an address has them; an empty string stands for nothing.

    Raises ConfigError as `parse_time`, `parse_condition` and `reelseek.index.query.parse_seconds`.
    """
    return Filters(
        below=tuple(Path(place) for place in below),
        since=parse_time(since) if since else None,
        until=parse_time(until, end=True) if until else None,
        longer=parse_seconds(longer) if longer else None,
        shorter=parse_seconds(shorter) if shorter else None,
        where=tuple(parse_condition(condition) for condition in where),
        metadata=metadata,
    )


def parse_time(text: str, *, end: bool = False) -> float:
    """Unix time of `2024-05-31` or `2024-05-31T18:30`, local where it names no zone; with `end`, a day's end.

    Raises ConfigError for anything else.
    """
    try:
        if re.fullmatch(DAY, text.strip()):
            day = date.fromisoformat(text.strip()) + timedelta(days=1 if end else 0)
            return datetime(day.year, day.month, day.day).timestamp()
        # ISO 8601 knows other days, such as 20240531, whose end would be taken for their beginning
        if re.match(DAY + r"[T ]\d{2}:\d{2}", text.strip()):
            return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    raise ConfigError(f"{text!r} is no date: write it as 2024-05-31 or 2024-05-31T18:30.")


def names_file(named: Path, path: Path) -> bool:
    """Whether a name is that of a file: its path, or the end of it, with or without the ending."""
    parts = [part for part in named.parts if part not in (".", "..")]
    if named.is_absolute():
        return path == named
    ends = path.parts[-len(parts) :]
    return ends[:-1] == tuple(parts[:-1]) and parts[-1] in (path.name, path.stem)


def _uncomparable(condition: Condition) -> ConfigError:
    return ConfigError(
        f"where {''.join(condition)!r}: {condition.sign} compares numbers and dates, as 4.5 or 2024-05-31, and "
        f"{condition.value!r} is neither."
    )


def _number(text: str, decimal_comma: bool) -> float | None:
    if decimal_comma and re.fullmatch(r"\s*[+-]?\d+,\d+\s*", text):
        text = text.replace(",", ".")
    try:
        # Python alone reads 1_2 as twelve: in a table that is a name, or a date of another kind
        value = math.nan if "_" in text else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _time(text: str) -> float | None:
    try:
        time = parse_time(text)
        datetime.fromtimestamp(time)  # a time in years that no calendar here has is no time
    except (ConfigError, ValueError, OverflowError, OSError):
        return None
    return time


def _day(time: float) -> float:
    """Where the local day of a Unix time begins."""
    day = datetime.fromtimestamp(time)
    return datetime(day.year, day.month, day.day).timestamp()


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns) if any(columns) else "no header"
