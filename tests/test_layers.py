"""Which unit may import which: the table, held by reading every file's imports."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "reelseek"
FREE = {"records", "errors", "config", "threads"}
ALLOWED: dict[str, set[str]] = {
    "lock": set(),
    "checkpoint": set(),
    "video": set(),
    "encoders": set(),
    "language": set(),
    "score": set(),
    "rank": set(),
    "training": {"checkpoint"},
    "data": {"video"},
    "methods": {"checkpoint", "encoders", "language", "score"},
    "losses": {"score"},
    "embed": {"data", "video"},
    "evaluation": {"data", "embed", "score", "rank"},
    "index": {"embed", "video", "score", "rank", "lock"},
    "recipes": {
        "data", "embed", "encoders", "methods", "losses", "training", "evaluation", "score", "rank", "checkpoint",
        "diagnostics", "lock", "video",
    },
    "report": {"rank"},
    "adapt": {"data", "embed", "index", "losses", "methods", "rank"},
    "diagnostics": {"score", "losses"},
    "study": {
        "config", "data", "embed", "lock", "methods", "recipes", "evaluation", "rank", "report", "score", "diagnostics",
    },
    "client": {"app"},
    "app": {
        "checkpoint", "video", "encoders", "score", "rank", "training", "data", "methods",
        "losses", "embed", "evaluation", "index", "recipes", "report", "language", "diagnostics", "study", "adapt",
    },
}  # fmt: skip
FILES = sorted(
    path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem not in ("__init__", "__main__")
)


def unit_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py").removeprefix("_").split("_")[0]


def reelseek_imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            if node.module == "reelseek":
                names = [f"reelseek.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1].split("_")[0] for name in names if name.startswith("reelseek.")}
    return found - {""}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_follow_the_table(path: Path) -> None:
    unit = unit_of(path)
    imported = reelseek_imports(path) - {unit} - {"version"}
    if unit in FREE:
        assert imported <= ({"errors"} if unit == "config" else set())
        return
    assert unit in ALLOWED, f"{path}: a unit that the table does not know"
    assert imported <= ALLOWED[unit] | FREE, f"{unit} may not import {sorted(imported - ALLOWED[unit] - FREE)}"


def test_the_table_has_no_dead_units() -> None:
    assert set(ALLOWED) == {unit_of(path) for path in FILES} - FREE


def test_a_forbidden_import_would_be_seen(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from reelseek.app import cli\n    import reelseek.index.store\n")
    assert reelseek_imports(file) == {"app", "index"}
