"""A text head: its map as loops, its gradients, no change before training, and its folder."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from adapt_toy import WIDTH, Towers, toy
from reelseek.config import MethodConfig
from reelseek.errors import CheckpointError
from reelseek.index.segments import blank_video
from reelseek.methods import METHODS, saved
from reelseek.methods.method import Method
from reelseek.methods.text_head import TextHead, head_of, is_head, load_head, save_head
from reelseek.records import Texts, Videos
from reelseek.score.similarity import masked_mean


def random_head(rank: int = 3, seed: int = 4) -> TextHead:
    head = TextHead(WIDTH, rank, seed=seed)
    head.up_DR.data = torch.randn(WIDTH, rank, generator=torch.Generator().manual_seed(seed)) / 4
    return head


def some_videos(frames: int = 5) -> Videos:
    frames_VFD = torch.randn(6, frames, WIDTH, generator=torch.Generator().manual_seed(2))
    return Videos(frames_VFD, torch.arange(frames) < torch.tensor([5, 3, 1, 5, 2, 4])[:, None])


def cosine_loop(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def test_the_map_and_the_score_are_their_definition_in_loops() -> None:
    head = random_head()
    method = toy()
    method.text_head = head
    captions = ["colour 200 30 40", "colour 20 130 240"]
    videos = some_videos()
    found, _ = method.project(method.encode_texts(captions), videos)
    plain, _ = method.project_without_head(method.encode_texts(captions), videos)
    scores = method.score(found, videos).matrix_TV.detach()
    unit = videos.frames_VFD / videos.frames_VFD.norm(dim=-1, keepdim=True)
    means = masked_mean(unit, videos.mask_VF).tolist()
    for t, text in enumerate(plain.pooled_TD.tolist()):
        inner = [sum(a * x for a, x in zip(row, text, strict=True)) for row in head.down_RD.tolist()]
        up = head.up_DR.tolist()
        moved = [text[d] + sum(up[d][r] * inner[r] for r in range(len(inner))) for d in range(len(text))]
        scale = math.sqrt(sum(x * x for x in text)) / math.sqrt(sum(x * x for x in moved))
        expected = [x * scale for x in moved]
        assert found.pooled_TD[t].tolist() == pytest.approx(expected, abs=1e-5)
        for v, mean in enumerate(means):
            assert float(scores[t, v]) == pytest.approx(cosine_loop(expected, mean), abs=1e-5)
    assert torch.allclose(found.pooled_TD.norm(dim=1), plain.pooled_TD.norm(dim=1))


def test_the_gradients_are_right() -> None:
    head = random_head().double()
    texts_TD = torch.randn(3, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def moved(down_RD: torch.Tensor, up_DR: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(head, {"down_RD": down_RD, "up_DR": up_DR}, (Texts(texts_TD),)).pooled_TD

    weights = [weight.detach().clone().requires_grad_() for weight in (head.down_RD, head.up_DR)]
    assert torch.autograd.gradcheck(moved, weights)


@pytest.mark.parametrize("name", METHODS)
def test_a_new_head_changes_no_bit_of_any_method(name: str) -> None:
    method = toy(name)
    captions, videos = ["colour 200 30 40", "a dog"], some_videos()
    before = method.project(method.encode_texts(captions), videos)[0]
    plain_id = method.id
    method.text_head = TextHead(before.pooled_TD.shape[1], 2)
    after = method.project(method.encode_texts(captions), videos)[0]
    assert torch.equal(before.pooled_TD, after.pooled_TD)
    for stream in before.streams or {}:
        assert torch.equal(before.streams[stream].pooled_TD, after.streams[stream].pooled_TD)
    with torch.no_grad():
        assert torch.equal(method.score(before, videos).matrix_TV, method.score(after, videos).matrix_TV)
        method.text_head = random_head()
        moved = method.project(method.encode_texts(captions), videos)[0]
        assert not torch.allclose(method.score(before, videos).matrix_TV, method.score(moved, videos).matrix_TV)
    assert method.id != plain_id
    method.text_head = None
    assert method.id == plain_id


def test_videos_do_not_hang_on_the_head() -> None:
    method = toy("clip4clip")
    text, video = method.encode_texts(["a dog"]), blank_video(method, 3)
    before = method.project(text, video)[1]
    method.text_head = random_head()
    assert torch.equal(before.frames_VFD, method.project(text, video)[1].frames_VFD)


def written(folder: Path, method: Method) -> Path:
    save_head(
        folder, random_head(), base="toy", base_id=method.id, trained_on="nothing; head: 3 queries", report={"a": 1}
    )
    return folder


def test_a_head_comes_back_with_its_method(tmp_path: Path) -> None:
    method = toy()
    folder = written(tmp_path / "head", method)
    assert is_head(folder)
    assert not is_head(tmp_path)
    asked: list[str] = []
    back = load_head(folder, lambda name: (asked.append(name), toy())[1])
    method.text_head = random_head()
    assert back.id == method.id
    assert back.trained_on == "nothing; head: 3 queries"
    assert not back.training
    load_head(folder, lambda name: (asked.append(name), toy())[1], base="elsewhere")
    assert asked == ["toy", "elsewhere"]


def test_load_takes_the_folder_of_a_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "load_backbone", lambda name, device="cpu": Towers())
    base = saved.load("toy")
    assert saved.load(str(written(tmp_path / "head", base))).text_head is not None


def test_a_saved_method_keeps_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "load_backbone", lambda name, device="cpu": Towers())
    method = toy("clip4clip")
    method.text_head = random_head()
    saved.save(method, tmp_path / "run", run={"method": {}})
    back = saved.load(str(tmp_path / "run"))
    assert back.id == method.id
    assert back.text_head is not None


def test_another_method_below_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "head", toy())
    with pytest.raises(CheckpointError, match="trained over another method"):
        load_head(folder, lambda name: toy("clip4clip" if name == "toy" else name).train())
    other = toy()
    other.text_head = random_head()
    with pytest.raises(CheckpointError, match="trained over another method"):
        load_head(folder, lambda name: other)


@pytest.mark.parametrize("harm", ["weights", "kind", "base", "absent"])
def test_a_damaged_head_is_refused(tmp_path: Path, harm: str) -> None:
    folder = written(tmp_path / "head", toy())
    config = json.loads((folder / "config.json").read_text())
    if harm == "weights":
        (folder / "model.safetensors").write_bytes(b"\x80\x04pickle")
    elif harm == "absent":
        (folder / "model.safetensors").unlink()
    else:
        config |= {"kind": "another"} if harm == "kind" else {"base": 3}
        (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="head"):
        load_head(folder, lambda name: toy())


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"down_RD": torch.zeros(2, 4)},
        {"down_RD": torch.zeros(2, 4), "up_DR": torch.zeros(2, 4)},
        {"down_RD": torch.zeros(2, 4), "up_DR": torch.zeros(4, 2), "more": torch.zeros(1)},
        {"down_RD": torch.zeros(0, 4), "up_DR": torch.zeros(4, 0)},
        {"down_RD": torch.full((2, 4), float("nan")), "up_DR": torch.zeros(4, 2)},
        {"down_RD": torch.zeros(2, 4, dtype=torch.int64), "up_DR": torch.zeros(4, 2, dtype=torch.int64)},
    ],
)
def test_weights_that_are_no_head(tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="not those of a text head"):
        head_of(tensors)


def test_a_rank_below_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        TextHead(4, 0)
    assert MethodConfig().name  # heads are no setting of a method: ids of methods without one stay
