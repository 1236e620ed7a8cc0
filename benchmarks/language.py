"""How often a query's language is told wrongly, and how often rightly: `python benchmarks/language.py [CAPTIONS ...]`.

False alarms: over English captions from files (JSON, CSV or text, any strings in them of two words or more), whole and
cut to their first two to five words. Found: 12 everyday queries of two to five words in each of nine languages in Latin
letters and five in others. Writes benchmarks/results/language.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelseek.index.language import language_of
from reelseek.rank.export import write_json

RESULT = Path(__file__).parent / "results" / "language.json"
ASKED = Path(__file__).parent / "language_queries.txt"
"""A language a line, and names in many languages as people type them."""


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from strings(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from strings(entry)


def captions(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".json":
        found = list(strings(json.loads(text)))
    elif path.suffix == ".csv":
        found = [cell for row in csv.reader(text.splitlines()) for cell in row]
    else:
        found = text.splitlines()
    return [
        caption for caption in dict.fromkeys(found) if len(re.findall(r"[A-Za-z]+", caption)) > 2 and " " in caption
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs="*", type=Path, help="English captions")
    arguments = options.parse_args()
    english = list(dict.fromkeys(caption for path in arguments.files for caption in captions(path)))
    wrong: dict[str, list[str]] = {"whole": [caption for caption in english if language_of(caption)]}
    for count in (2, 3, 4, 5):
        cut = dict.fromkeys(" ".join(caption.split()[:count]) for caption in english)
        wrong[f"first {count} words"] = [caption for caption in cut if language_of(caption)]
    asked = {}
    for line in ASKED.read_text(encoding="utf-8").splitlines():
        language, _, queries = line.partition(": ")
        asked[language] = queries.split(" | ")
    all_names = asked.pop("names")
    found = {}
    for language, queries in asked.items():
        found[language] = {
            "queries": len(queries),
            "found": sum(bool(language_of(query)) for query in queries),
            "named rightly": sum(language_of(query) == language for query in queries),
        }
    names = [name for name in all_names if language_of(name)]
    latin = [row for language, row in found.items() if row["queries"] == 12]
    result = {
        "files": [path.name for path in arguments.files],
        "english captions": len(english),
        "false alarms": {kind: len(rows) for kind, rows in wrong.items()},
        "examples": {kind: rows[:8] for kind, rows in wrong.items()},
        "names": len(all_names),
        "false alarms on names": names,
        "found": found,
        "found, Latin letters": f"{sum(row['found'] for row in latin)} of {sum(row['queries'] for row in latin)}",
    }
    write_json(RESULT, result)
    print(json.dumps(result, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
