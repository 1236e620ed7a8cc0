"""`reelseek report`: a page of results.json."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from reelseek.app.terminal import parser
from reelseek.errors import ConfigError, DataError

PARTS = {"runs", "comparisons", "examples", "searches", "broken"}
"""What a results.json has at least one of."""


def parse(words: Sequence[str]) -> Namespace:
    """RESULTS [--out FILE]."""
    options = parser("report", "Write one self-contained HTML page from a results.json of `demo` or `evaluate`.")
    options.add_argument("results", metavar="RESULTS", help="a results.json file, or the folder with it")
    options.add_argument("--out", default="", metavar="FILE", help="the page to write instead of report.html beside it")
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Write the page."""
    from reelseek.report import write_report

    source = Path(arguments.results)
    if source.is_dir():
        source /= "results.json"
        if not source.is_file():
            raise DataError(f"{source}: not there. `reelseek evaluate MODEL --out DIR` and `reelseek demo` write one.")
    try:
        results = json.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise DataError(f"{source}: not JSON ({error}).") from None
    if isinstance(results, dict) and "study" in results:
        raise DataError(
            f"{source}: of `reelseek study`, whose page is study.html beside it. The study's command with --budget 0 "
            "writes that page again."
        )
    if isinstance(results, dict) and not PARTS & results.keys():
        raise DataError(f"{source}: not a results.json: it holds none of {', '.join(sorted(PARTS))}.")
    target = Path(arguments.out) if arguments.out else source.with_name("report.html")
    if target.exists() and target.samefile(source):
        raise ConfigError(f"--out {target}: the page would replace the results that it is made of. Name another file.")
    write_report(results, target)
    print(target)
    return 0
