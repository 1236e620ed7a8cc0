"""Train CLIP4Clip's mean pooling over the frozen offline towers, evaluate it on the test split, load it again.

    python examples/train_clip4clip.py runs

The generated benchmark is cut down to seconds of work, so the numbers mean nothing; `reelseek train
clip4clip-meanp-motions` is the full run. Everything is written into the folder, by default a temporary one.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import reelseek
from reelseek import evaluate, recipe, train
from reelseek.config import RunConfig
from reelseek.data import load as load_data


def small(name: str, folder: Path) -> RunConfig:
    """A recipe's settings with 24 training videos and 2 epochs; the videos are made in `folder`."""
    config = recipe(name)
    return replace(
        config,
        data=replace(config.data, root=str(folder / "motions"), size=24),
        train=replace(config.train, epochs=2, batch_size=8),
    )


def main(folder: Path) -> None:
    """Train, load the run by its folder, evaluate it, print the numbers and what they depend on."""
    folder.mkdir(parents=True, exist_ok=True)
    config = small("clip4clip-meanp-motions", folder)
    outcome = train(config, folder / "clip4clip", cache=folder / "cache", say=print)
    print(f"best epoch {outcome.fit.best_epoch} of {config.train.epochs}, chosen on the validation split")

    method = reelseek.load(str(outcome.folder))
    test = load_data(config.data).test
    assert test is not None, "this benchmark has a test split"
    found = evaluate(method, test, config=config.evaluate, sample=config.sample, cache=folder / "cache")
    print(f"{method.name}, trained on {method.trained_on}")
    for direction, metrics in found.metrics.items():
        print(direction, "  ".join(f"{name} {value:.1f}" for name, value in metrics.items()))
    low, high = found.intervals["text_to_video"]["R@1"]
    print(f"R@1, 95 % interval over queries: {low:.1f} to {high:.1f}")
    print("protocol:", ", ".join(f"{name} {value}" for name, value in found.protocol.items()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
