"""Compare two trained methods on the same queries: difference, interval, p value, and what could have been seen.

    python examples/compare_runs.py runs

Both runs have the same data, seed and settings; only the method differs. The benchmark is cut down to seconds of work:
with so few queries no difference can be shown, and the last column says so. Runs that are in the folder already are
not trained again. Everything is written into the folder, by default a temporary one.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from reelseek import recipe, train
from reelseek.data import load as load_data
from reelseek.evaluation import Evaluation, evaluate
from reelseek.rank.compare import paired_difference

RECIPES = {"clip4clip": "clip4clip-meanp-motions", "gare": "gare-motions"}


def trained_and_tested(name: str, folder: Path) -> Evaluation:
    """One method, trained on 24 videos for 2 epochs and evaluated on the test split."""
    config = recipe(RECIPES[name])
    config = replace(
        config,
        data=replace(config.data, root=str(folder / "motions"), size=24),
        train=replace(config.train, epochs=2, batch_size=8),
    )
    outcome = train(config, folder / name, cache=folder / "cache")
    test = load_data(config.data).test
    assert test is not None, "this benchmark has a test split"
    return evaluate(outcome.method, test, config=config.evaluate, sample=config.sample, cache=folder / "cache")


def main(folder: Path) -> None:
    """Print one line a metric. Captions of one video are drawn together: they succeed and fail together."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = {name: trained_and_tested(name, folder) for name in RECIPES}
    (name_a, a), (name_b, b) = runs.items()
    for metric in ("R@1", "R@5", "MnR"):
        found = paired_difference(
            a.ranks_T,
            b.ranks_T,
            metric,
            groups_T=a.pairs.video_of_T,
            ids_a=a.pairs.text_ids,
            ids_b=b.pairs.text_ids,
        )
        print(
            f"{metric}: {name_a} minus {name_b} = {found.difference:+.1f} [{found.low:+.1f}, {found.high:+.1f}], "
            f"p = {found.p_value:.3f}; {found.smallest_detectable:.1f} could have been seen in {found.queries} queries"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
