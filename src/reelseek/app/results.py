"""What commands write into results.json (its schema is in `reelseek.report`): records of runs, examples, machine.

Shapes: T texts, V videos, D width, N any count.
"""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reelseek import __version__
from reelseek.diagnostics import values
from reelseek.embed import EmbeddedPairs
from reelseek.errors import VideoError
from reelseek.evaluation import Evaluation, project_in_blocks
from reelseek.methods.method import Method
from reelseek.rank.compare import Metric, PairedResult, paired_difference
from reelseek.rank.ranking import top_k
from reelseek.recipes.decoding import cores
from reelseek.records import Hit
from reelseek.score.similarity import masked_mean, unit
from reelseek.video.files import thumbnail

PREVIEW = 60
"""Rows and columns of the similarity picture, and points of each kind in the picture of the gap."""


def results_record(command: str) -> dict[str, Any]:
    """The head of results.json: version, time, machine, command; its lists are still empty."""
    return {
        "reelseek": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "command": command,
        "runs": [],
        "comparisons": [],
        "examples": [],
        "searches": [],
        "broken": [],
        "notes": [],
    }


def machine() -> dict[str, Any]:
    """What the numbers were made on."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:  # not Linux
        pass
    return {"cpu": cpu, "cores": cores(), "torch": torch.__version__, "threads": torch.get_num_threads()}


def run_record(
    name: str,
    evaluation: Evaluation,
    method: Method,
    *,
    seconds: float | None = None,
    folder: Path | None = None,
    gap: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One run of results.json. folder: a run folder whose log gives the training curves."""
    # nothing of a zero-shot model is trained, its scale of scores neither
    frozen = ("backbone.", "log_scale") if method.name == "zero-shot" else ("backbone.",)
    trained = sum(p.numel() for key, p in method.named_parameters() if not key.startswith(frozen))
    matrix_TV = evaluation.matrix_TV
    return {
        "name": name,
        "method": method.name,
        "backbone": method.backbone.name,
        "trained_on": method.trained_on,
        "parameters": trained,
        "seconds": seconds,
        "protocol": dict(evaluation.protocol),
        "metrics": {way: dict(values) for way, values in evaluation.metrics.items()},
        "intervals": {way: {k: list(v) for k, v in values.items()} for way, values in evaluation.intervals.items()},
        "contrasts": dict(evaluation.contrasts),
        "curves": {} if folder is None else training_curves(folder),
        "ranks": evaluation.ranks_T.tolist(),
        "similarity": np.round(matrix_TV[:PREVIEW, : min(PREVIEW, matrix_TV.shape[1])], 4).tolist(),
        "gap": gap,
    }


def training_curves(folder: Path) -> dict[str, list[list[float]]]:
    """Every numeric series of a run's log.jsonl by name: loss parts, learning rate, scale, validation metrics."""
    names = {"lr": "learning rate", "logit_scale": "logit scale", "R@1": "validation R@1"}
    curves: dict[str, list[list[float]]] = {}
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        for key, value in record.items():
            name = names.get(key, key.replace("loss/", "loss: ") if key.startswith("loss/") else "")
            if name and value is not None:
                curves.setdefault(name, []).append([record["step"], value])
    return curves


def modality_gap(method: Method, embedded: EmbeddedPairs) -> dict[str, Any]:
    """The modality gap of texts and videos (mean frames), and both clouds, as unit vectors, on two principal axes."""
    with torch.inference_mode():
        texts, videos = project_in_blocks(method, embedded.texts, embedded.videos, block=512)
        texts_TD = unit(texts.pooled_TD, "text")
        videos_VD = unit(masked_mean(videos.frames_VFD, videos.mask_VF), "video")
    plane_ND = _two_axes(torch.cat([texts_TD, videos_VD]))
    points_T2, points_V2 = plane_ND[: len(texts_TD)], plane_ND[len(texts_TD) :]
    return {
        "distance": values.modality_gap(texts_TD, videos_VD),
        "points_text": _rounded(points_T2[:PREVIEW]),
        "points_video": _rounded(points_V2[:PREVIEW]),
    }


def comparison(
    a: str,
    evaluation_a: Evaluation,
    b: str,
    evaluation_b: Evaluation,
    metric: str,
    *,
    measure: Metric | None = None,
    groups_T: np.ndarray | None = None,
) -> dict[str, Any]:
    """A minus B on the same queries, with interval, p value and the smallest difference that could have been seen.

    measure: what `metric` is the name of, if it is none of `reelseek.rank.metrics.METRICS`. groups_T: queries that hang
    together, by default those of one video.
    """
    difference: PairedResult = paired_difference(
        evaluation_a.ranks_T,
        evaluation_b.ranks_T,
        measure or metric,
        groups_T=evaluation_a.pairs.video_of_T if groups_T is None else groups_T,
        ids_a=evaluation_a.pairs.text_ids,
        ids_b=evaluation_b.pairs.text_ids,
    )
    transductive = any(found.protocol["transductive"] for found in (evaluation_a, evaluation_b))
    return {"a": a, "b": b, "metric": metric, "transductive": transductive, **difference._asdict()}


def examples(name: str, evaluation: Evaluation, *, right: int = 3, wrong: int = 3) -> list[dict[str, Any]]:
    """The first queries that one run answers right at once, and the first that it does not, with thumbnails."""
    pairs, ranks_T = evaluation.pairs, evaluation.ranks_T
    chosen = [*np.flatnonzero(ranks_T == 1)[:right], *np.flatnonzero(ranks_T > 1)[:wrong]]
    best_TK = top_k(evaluation.matrix_TV, min(4, len(pairs.video_ids))).items_TK
    relevance_TV = pairs.relevance_TV()
    made = []
    for text in chosen:
        wanted = int(pairs.video_of_T[text])
        made.append(
            {
                "run": name,
                "text": pairs.texts[text],
                "wanted": {"video": pairs.video_ids[wanted], "thumbnail": picture(pairs.paths[wanted])},
                "rank": int(ranks_T[text]),
                "found": [
                    {
                        "video": pairs.video_ids[video],
                        "score": float(evaluation.matrix_TV[text, video]),
                        "thumbnail": picture(pairs.paths[video]),
                        "right": bool(relevance_TV[text, video]),
                    }
                    for video in best_TK[text]
                ],
            }
        )
    return made


def search_record(model: str, trained_on: str, query: str, hits: Sequence[Hit]) -> dict[str, Any]:
    """One query and its answers for the report."""
    rows = [{**hit._asdict(), "thumbnail": picture(Path(hit.path), hit.peak)} for hit in hits]
    return {"model": model, "trained_on": trained_on, "query": query, "hits": rows}


def picture(path: Path, time: float | None = None) -> str | None:
    """A frame as a data: URI; None if the file gives none any more. time: seconds, or None for one second in."""
    try:
        jpeg = thumbnail(path, 1.0 if time is None else time, side=160)
    except VideoError:
        return None
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _two_axes(points_ND: Tensor) -> Tensor:
    centred_ND = points_ND - points_ND.mean(dim=0)
    axes_2D: Tensor = torch.linalg.svd(centred_ND, full_matrices=False).Vh[:2]
    return centred_ND @ axes_2D.T


def _rounded(points_N2: Tensor) -> list[list[float]]:
    return [[round(x, 4), round(y, 4)] for x, y in points_N2.tolist()]
