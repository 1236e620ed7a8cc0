"""Train GARE with its regularisers, read every part of its loss from the log, evaluate it with and without rescoring.

    python examples/train_gare.py runs

The generated benchmark is cut down to seconds of work, so the numbers mean nothing; `reelseek train gare-motions` is
the full run. Everything is written into the folder, by default a temporary one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from reelseek import evaluate, recipe, train
from reelseek.config import RunConfig
from reelseek.data import load as load_data


def small(name: str, folder: Path) -> RunConfig:
    """A recipe's settings with 24 training videos and 2 epochs; the videos are made in `folder`."""
    config = recipe(name)
    return replace(
        config,
        data=replace(config.data, root=str(folder / "motions"), size=24),
        loss=replace(config.loss, kl_weight=1e-4, direction_weight=0.01, norm_weight=0.01),
        train=replace(config.train, epochs=2, batch_size=8),
    )


def main(folder: Path) -> None:
    """Train, print the last step's loss by parts, evaluate with and without rescoring."""
    folder.mkdir(parents=True, exist_ok=True)
    config = small("gare-motions", folder)
    outcome = train(config, folder / "gare", cache=folder / "cache", say=print)
    steps = [json.loads(line) for line in (outcome.folder / "log.jsonl").read_text().splitlines()]
    last = next(step for step in reversed(steps) if step["kind"] == "step")
    print("last step:", "  ".join(f"{key} {last[key]:.4f}" for key in last if key.startswith("loss/")))

    test = load_data(config.data).test
    assert test is not None, "this benchmark has a test split"
    for rescoring in ("none", "dual_softmax"):
        protocol = replace(config.evaluate, rescoring=rescoring)
        found = evaluate(outcome.method, test, config=protocol, sample=config.sample, cache=folder / "cache")
        numbers = "  ".join(f"{name} {value:.1f}" for name, value in found.metrics["text_to_video"].items())
        label = "transductive: it sees the other test queries" if found.protocol["transductive"] else "plain"
        print(f"rescoring {found.protocol['rescoring']} ({label}): {numbers}")
    print("protocol:", ", ".join(f"{name} {value}" for name, value in found.protocol.items()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
