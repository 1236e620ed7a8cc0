"""`reelseek evaluate`: a trained run or a zero-shot model on a split, alone or against another."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelseek.app.models import load_method, own_options, usual_options
from reelseek.app.settings import add_cache, parse_over, run_config, settings_parser
from reelseek.app.terminal import add_device, progress, refuse_file, table, tell_broken, told_aside
from reelseek.config import EvaluateConfig, RunConfig
from reelseek.errors import ConfigError, DataError
from reelseek.index.encodable import encodable

if TYPE_CHECKING:
    from reelseek.data.pairs import Pairs
    from reelseek.evaluation import Evaluation
    from reelseek.methods.method import Method

SECTIONS = ("data", "sample", "evaluate")
CSV_PROTOCOL = ("split", "complete", "ties", "rescoring", "transductive")
LABELS = {
    "text_to_video": "t -> v",
    "video_to_text": "v -> t",
    "text_to_video_corrected": "t -> v, corrected",
    "video_to_text_corrected": "v -> t, corrected",
}
METRICS = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR")


def parse(words: Sequence[str]) -> Namespace:
    """MODEL [--data DIR] [--split test] [--against MODEL] [--out DIR].

    `alone` holds the settings that the model of --against would be evaluated with by itself, on the same data.
    """
    options = settings_parser(
        "evaluate",
        "Score a run of `train`, trained weights of CLIP4Clip or GARE, or a zero-shot model by name, on the test split "
        "of its data. Data, sampling and tie rule are the run's own unless changed by their dotted names. With "
        "--against both are scored on the first one's data by its rules, each with its own sampling.",
        sections=SECTIONS,
    )
    options.usage = (
        "reelseek evaluate MODEL [--against MODEL] [--data DIR] [--out DIR] [--section.setting VALUE ...]\n"
        "       reelseek evaluate INDEX [--against INDEX] [--marks INDEX] [--out DIR]"
    )
    options.add_argument(
        "model",
        metavar="MODEL",
        help="a run folder, a weights file, offline, or a CLIP or SigLIP name or folder; or an index, measured by what "
        "was marked in it",
    )
    options.add_argument(
        "--against", default="", metavar="MODEL", help="another run or model (index), compared on the same queries"
    )
    options.add_argument("--marks", default="", metavar="INDEX", help="the index whose marks count, if not MODEL's own")
    options.add_argument(
        "--split", default="test", choices=["test", "val", "train"], help="which split of the data is scored"
    )
    add_cache(options)
    options.add_argument(
        "--out", default="", metavar="DIR", help="write results.json, report.html, metrics.csv, TREC run and qrels"
    )
    options.add_argument("--json", action="store_true", help="print what results.json holds, and the tables to stderr")
    add_device(options)
    arguments = parse_over(options, words, "model", lambda model: usual_options(model, SECTIONS))

    def settings_against(model: str) -> dict[str, object]:
        return usual_options(model, SECTIONS) | own_options(arguments.against, ("sample", "evaluate"))

    arguments.alone = parse_over(options, words, "model", settings_against) if arguments.against else arguments
    return arguments


def run(arguments: Namespace) -> int:
    """Print the metrics with their protocol, and the comparison; write files if asked."""
    with told_aside(arguments.json):
        results = _results(arguments)
    if arguments.json:
        print(json.dumps(encodable(results)))
    return 0


def _results(arguments: Namespace) -> dict[str, Any]:
    from reelseek.app.results import comparison, results_record, run_record
    from reelseek.embed import with_missing
    from reelseek.evaluation_bank import check_rescoring
    from reelseek.index.cards import has_card

    config, alone = run_config(arguments), run_config(arguments.alone)
    check_rescoring(config.evaluate)
    if arguments.out:
        refuse_file(Path(arguments.out))
    if has_card(Path(arguments.model)):
        from reelseek.app import own_benchmark

        return own_benchmark.results(arguments, config)
    if arguments.marks or (arguments.against and has_card(Path(arguments.against))):
        raise ConfigError(f"{arguments.model}: is no index; marks measure indexes, alone or one against the other.")
    names = [arguments.model, *([arguments.against] if arguments.against else [])]
    # Models first: one that cannot be had should be said before any data is read or made.
    methods = [load_method(name, arguments.device) for name in names]
    pairs, bank = _splits(config, arguments, methods)
    samples = [config.sample, alone.sample][: len(names)]

    def scored(pairs: Pairs) -> list[Evaluation]:
        return [
            _evaluate(name, method, pairs, bank, replace(config, sample=sample), arguments)
            for name, method, sample in zip(names, methods, samples, strict=True)
        ]

    evaluations = scored(pairs)
    results = results_record("reelseek evaluate " + " ".join(names))
    broken = {file.path: file for evaluation in evaluations for file in evaluation.broken}
    read = set(pairs.video_ids).intersection(*(evaluation.pairs.video_ids for evaluation in evaluations))
    if any(len(evaluation.pairs.video_ids) > len(read) for evaluation in evaluations):
        # what one sampling can read of a damaged file another cannot, and only the same queries compare
        evaluations = scored(with_missing(pairs, [at for at, video in enumerate(pairs.video_ids) if video in read]))
        results["notes"].append("Videos that either model's sampling could not read are missing for both.")
        print(results["notes"][-1])
    results["broken"] = [{"path": str(file.path), "reason": file.reason} for file in broken.values()]
    found = list(zip(evaluations, methods, strict=True))
    results["notes"] += [f"{pairs.name}: {note}" for note in pairs.notes]
    for name, (evaluation, method) in zip(names, found, strict=True):
        folder = Path(name) if (Path(name) / "log.jsonl").exists() else None
        results["runs"].append(run_record(name, evaluation, method, folder=folder))
    show([(name, evaluation) for name, (evaluation, _) in zip(names, found, strict=True)])
    if len(found) == 2:
        if note := scored_alike(names[0], config.evaluate, names[1], alone.evaluate):
            results["notes"].append(note)
            print(note)
        for metric in ("R@1", "R@5", "R@10", "MnR"):
            results["comparisons"].append(comparison(names[0], found[0][0], names[1], found[1][0], metric))
        show_comparisons(results["comparisons"])
    if arguments.out:
        write_files(Path(arguments.out), results, found[0][0])
    return results


def _splits(config: RunConfig, arguments: Namespace, methods: Sequence[Method]) -> tuple[Pairs, Pairs | None]:
    """The split to score, and the training split if the settings ask for a bank."""
    from reelseek.data import load
    from reelseek.evaluation_bank import needs_bank
    from reelseek.recipes.run import refuse_seen

    with progress("making the benchmark") as tell:
        splits = load(config.data, tell)
    pairs: Pairs | None = getattr(splits, arguments.split)
    if pairs is None:
        raise DataError(f"{config.data.name}: it has no {arguments.split} split.")
    if arguments.split != "train":
        for method in methods:
            refuse_seen(method, pairs, as_test=arguments.split == "test")
    if not needs_bank(config.evaluate):
        return pairs, None
    if splits.train is None:
        raise DataError(
            f"{config.data.name}: it has no train split to draw a bank from; choose another evaluate.prior."
        )
    return pairs, splits.train


def _evaluate(
    name: str, method: Method, pairs: Pairs, bank: Pairs | None, config: RunConfig, arguments: Namespace
) -> Evaluation:
    from reelseek.evaluation import evaluate
    from reelseek.recipes.run import cache_folder

    cache = Path(arguments.cache) if arguments.cache else cache_folder()
    with progress(f"evaluating {name}") as tell:
        evaluation = evaluate(
            method, pairs, config=config.evaluate, sample=config.sample, cache=cache, progress=tell, bank=bank
        )
    tell_broken(evaluation.broken)
    return evaluation


def scored_alike(first: str, ours: EvaluateConfig, second: str, theirs: EvaluateConfig) -> str:
    """That the second model alone would be scored by other rules than both are; empty where it would not."""
    differing = [
        f"evaluate.{entry.name} {getattr(theirs, entry.name)}, not {getattr(ours, entry.name)}"
        for entry in fields(ours)
        if entry.name not in ("block", "bootstrap") and getattr(theirs, entry.name) != getattr(ours, entry.name)
    ]
    if not differing:
        return ""
    return f"{second} alone has {'; '.join(differing)}: a paired test scores both alike, here as {first}."


def show(named: Sequence[tuple[str, Evaluation]]) -> None:
    """Metrics of several runs on one split, both ways, with contrasts, protocol and the split's notes below."""
    first = named[0][1]
    rows = []
    for name, evaluation in named:
        mark = ", transductive" if evaluation.protocol["transductive"] else ""
        for way, values in evaluation.metrics.items():
            low, high = evaluation.intervals.get(way, {}).get("R@1", (None, None))
            interval = "" if low is None else f"{low:.1f} to {high:.1f}"
            numbers = [f"{values[metric]:.1f}" for metric in METRICS]
            rows.append((name, LABELS[way] + mark, numbers[0], interval, *numbers[1:]))
    columns = ["run", "", "R@1", "95 %", *METRICS[1:]]
    table(f"{first.pairs.name} (t -> v: text to video)", columns, rows, right=range(2, 9))
    for name, evaluation in named:
        for contrast, percent in evaluation.contrasts.items():
            count = evaluation.protocol["contrasts"][contrast]
            print(
                f"{name}: {contrast} right in {percent:.1f} % of {count:,} contrasts, before rescoring; ties are wrong."
            )
    lines = {name: protocol_line(evaluation.protocol) for name, evaluation in named}
    if len(set(lines.values())) > 1:
        lines = {name: f"{name}: {line}" for name, line in lines.items()}
    for line in dict.fromkeys(lines.values()):
        print(line)
    for note in first.pairs.notes:
        print(f"{first.pairs.name}: {note}.")


def protocol_line(protocol: Mapping[str, Any]) -> str:
    """What the numbers above depend on, in one line."""
    counts = f"{protocol['texts_found']:,} texts and {protocol['videos_found']:,} videos found, {_lacking(protocol)}"
    if protocol["standard"]:
        counts += f" ({'' if protocol['complete'] else 'NOT '}the standard split {protocol['standard']})"
    seen = "TRANSDUCTIVE: it saw the other test queries" if protocol["transductive"] else "no test query saw another"
    if protocol["bank_texts"]:
        seen += f"; bank: {protocol['bank_texts']:,} training captions, {protocol['bank_videos']:,} training videos"
    sampled = f" ({protocol['sampling']})" if "sampling" in protocol else ""
    return (
        f"{protocol['split']}: {counts}; relevance {protocol['relevance']}; ties {protocol['ties']}; "
        f"rescoring {protocol['rescoring']} ({seen}); {protocol['frames']} frames{sampled}; "
        f"video to text by {protocol['video_to_text'].replace('_', ' ')}."
    )


def _lacking(protocol: Mapping[str, Any]) -> str:
    """What is missing of a split, or was dropped in reading it."""
    texts, videos, dropped = (protocol[key] for key in ("texts_missing", "videos_missing", "dropped"))
    words = [f"{texts:,} texts and {videos:,} videos missing"] if texts or videos else []
    words += [f"{dropped:,} captions or rows dropped"] if dropped else []
    return ", ".join(words) or "nothing missing"


def show_comparisons(comparisons: Sequence[Mapping[str, Any]]) -> None:
    """Differences in words: one that interval and test both show, or none that this many queries could show."""
    from reelseek.rank.compare import agreement

    for row in comparisons:
        power = f"; {row['smallest_detectable']:.1f} could have been" if row["smallest_detectable"] > 0 else ""
        verdict = {
            "seen": "",
            "open": " - undecided: the interval and the test disagree",
            "unseen": f" - no difference seen{power}",
        }[agreement(row["low"], row["high"], row["p_value"])]
        label = " (transductive)" if row["transductive"] else ""
        chance = "p < 0.001" if row["p_value"] < 0.001 else f"p = {row['p_value']:.3f}"
        print(
            f"{row['metric']}: {row['a']} minus {row['b']} = {row['difference']:+.1f} "
            f"[{row['low']:+.1f}, {row['high']:+.1f}], {chance}{label}{verdict}"
        )


def write_files(folder: Path, results: Mapping[str, Any], evaluation: Evaluation, *, corrected: bool = False) -> None:
    """Write results.json, report.html, metrics.csv, TREC run and qrels, and say so.

    corrected: whether further true matches are right in the qrels.
    """
    from reelseek.rank.export import write_json, write_metrics_csv, write_qrels, write_trec_run
    from reelseek.report import write_report

    pairs = evaluation.pairs
    write_json(folder / "results.json", results)
    rows = [
        {"run": record["name"], "direction": way, **{key: record["protocol"][key] for key in CSV_PROTOCOL}, **values}
        for record in results["runs"]
        for way, values in record["metrics"].items()
    ]
    write_metrics_csv(folder / "metrics.csv", rows)
    # Other tools make numbers of these ranks, and know nothing of the protocol but this name.
    tag = "reelseek-transductive" if evaluation.protocol["transductive"] else "reelseek"
    write_trec_run(folder / "run.trec", evaluation.matrix_TV, pairs.text_ids, pairs.video_ids, tag=tag)
    write_qrels(folder / "qrels.trec", pairs.relevance_TV(corrected=corrected), pairs.text_ids, pairs.video_ids)
    write_report(results, folder / "report.html")
    print(f"written: {folder}/results.json, report.html, metrics.csv, run.trec, qrels.trec")
