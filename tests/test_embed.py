"""Embedding once: fresh equals cached, an interrupted run goes on, broken files are set aside, memory is bounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import FakeMethod
from reelseek import embed_pipeline
from reelseek.config import SampleConfig
from reelseek.data.pairs import Pairs
from reelseek.embed import embed_files, embed_pairs, embed_texts, pad_videos
from reelseek.embed_pipeline import content_hash
from reelseek.errors import DataError, ReelseekError, UnreadableVideo
from reelseek.records import BrokenFile, EmbeddedVideo
from reelseek.video.sample import middle

MakeClip = Callable[..., Path]


def middle_of(frames: int) -> Callable[[float], np.ndarray]:
    return lambda duration: middle(duration, frames)


def run(method: FakeMethod, paths: list[Path], cache: Path | None, frames: int = 4) -> list[EmbeddedVideo | BrokenFile]:
    return list(embed_files(method, paths, middle_of(frames), sampling_key=f"middle-{frames}", cache=cache))


def pairs_of(folder: Path, names: list[str], spans: tuple[tuple[float, float] | None, ...] | None = None) -> Pairs:
    return Pairs(
        name="colours test",
        texts=tuple(f"something {name}" for name in names),
        text_ids=tuple(f"t{n}" for n in range(len(names))),
        video_of_T=np.arange(len(names)),
        video_ids=tuple(names),
        paths=tuple(folder / f"{name}.mp4" for name in names),
        spans=spans,
    )


def test_cached_equals_fresh_and_nothing_is_decoded_twice(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(colours.glob("*.mp4"))
    fresh = run(FakeMethod(), paths, None)
    run(FakeMethod(), paths, tmp_path / "cache")
    monkeypatch.setattr(embed_pipeline, "decode", lambda *args, **kwargs: pytest.fail("decoded again"))
    method = FakeMethod()
    cached = run(method, paths, tmp_path / "cache")
    assert method.frames_encoded == 0
    for one, other in zip(fresh, cached, strict=True):
        assert isinstance(one, EmbeddedVideo)
        assert isinstance(other, EmbeddedVideo)
        assert other.cached
        assert not one.cached
        assert torch.equal(one.frames_ND, other.frames_ND)
        assert np.array_equal(one.times_N, other.times_N)
        assert one.duration == other.duration
        assert one.path == other.path


def test_another_sampling_or_content_is_another_entry(colours: Path, tmp_path: Path, clip: MakeClip) -> None:
    path = colours / "red.mp4"
    cache = tmp_path / "cache"
    first, second = run(FakeMethod(), [path], cache, 4)[0], run(FakeMethod(), [path], cache, 2)[0]
    clip(path, (20, 20, 200))
    third = run(FakeMethod(), [path], cache, 4)[0]
    assert isinstance(first, EmbeddedVideo)
    assert isinstance(second, EmbeddedVideo)
    assert isinstance(third, EmbeddedVideo)
    assert (len(first.frames_ND), len(second.frames_ND)) == (4, 2)
    assert not third.cached
    assert not torch.equal(first.frames_ND, third.frames_ND)


def test_a_damaged_cache_entry_is_made_again(colours: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    paths = [colours / "red.mp4"]
    fresh = run(FakeMethod(), paths, cache)[0]
    (entry,) = cache.rglob("*.safetensors")
    entry.write_bytes(entry.read_bytes()[:20])
    again = run(FakeMethod(), paths, cache)[0]
    assert isinstance(fresh, EmbeddedVideo)
    assert isinstance(again, EmbeddedVideo)
    assert not again.cached
    assert torch.equal(fresh.frames_ND, again.frames_ND)


def test_an_interrupted_run_goes_on(colours: Path, tmp_path: Path) -> None:
    paths = sorted(colours.glob("*.mp4"))
    cache = tmp_path / "cache"
    stream = embed_files(FakeMethod(), paths, middle_of(4), sampling_key="middle-4", cache=cache)
    next(stream)
    stream.close()
    method = FakeMethod()
    results = run(method, paths, cache)
    assert [r.cached for r in results if isinstance(r, EmbeddedVideo)] == [True, False, False]
    assert method.frames_encoded == 8


def test_long_files_come_in_chunks_and_chunks_equal_the_whole(
    tmp_path: Path, clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clip(tmp_path / "long.mp4", (10, 100, 200), frames=60)
    whole = run(FakeMethod(), [path], None, 50)[0]
    monkeypatch.setattr(embed_pipeline, "CHUNK", 7)
    parts = run(FakeMethod(), [path], None, 50)[0]
    assert isinstance(whole, EmbeddedVideo)
    assert isinstance(parts, EmbeddedVideo)
    assert len(parts.frames_ND) == 50
    torch.testing.assert_close(whole.frames_ND, parts.frames_ND)
    assert np.array_equal(whole.times_N, parts.times_N)


def test_broken_files_are_set_aside_with_their_reason(colours: Path) -> None:
    (colours / "empty.mp4").write_bytes(b"")
    (colours / "words.mp4").write_text("not a video")
    paths = [colours / name for name in ("empty.mp4", "red.mp4", "gone.mp4", "words.mp4", "blue.mp4")]
    results = run(FakeMethod(), paths, None)
    assert [isinstance(result, BrokenFile) for result in results] == [True, False, True, True, False]
    assert all(result.path == path for result, path in zip(results, paths, strict=True))
    assert all("mp4" in result.reason for result in results if isinstance(result, BrokenFile))


def test_a_defect_in_the_decoding_thread_reaches_the_caller(colours: Path) -> None:
    def choose(duration: float) -> np.ndarray:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(embed_files(FakeMethod(), sorted(colours.glob("*.mp4")), choose, sampling_key="x"))


def test_texts_are_encoded_once_each_and_cached(tmp_path: Path) -> None:
    captions = ["red", "blue", "red", "green", "blue"]
    method = FakeMethod()
    texts = embed_texts(method, captions, cache=tmp_path, chunk=2)
    assert method.texts_encoded == 3
    again = FakeMethod()
    assert torch.equal(embed_texts(again, captions, cache=tmp_path, chunk=2).pooled_TD, texts.pooled_TD)
    assert again.texts_encoded == 0
    assert torch.equal(texts.pooled_TD, torch.cat([FakeMethod().encode_texts([c]).pooled_TD for c in captions]))


def test_pairs_lose_what_cannot_be_read_and_say_so(colours: Path) -> None:
    (colours / "green.mp4").write_bytes(b"")
    embedded = embed_pairs(FakeMethod(), pairs_of(colours, ["red", "green", "blue"]), SampleConfig(frames=4))
    assert embedded.pairs.video_ids == ("red", "blue")
    assert embedded.pairs.texts == ("something red", "something blue")
    assert embedded.pairs.missing_videos == ("green",)
    assert embedded.pairs.missing_texts == 1
    assert not embedded.pairs.complete
    assert len(embedded.texts.pooled_TD) == len(embedded.videos.frames_VFD) == 2
    assert [broken.path.name for broken in embedded.broken] == ["green.mp4"]


def test_features_of_a_split_come_from_torch_alone_and_of_a_library_from_what_is_fastest(
    colours: Path, tmp_path: Path
) -> None:
    class TwoEngines(FakeMethod):
        def encode_frames(self, pixels_N3HW: torch.Tensor) -> torch.Tensor:
            return super().encode_frames(pixels_N3HW) + 1

        def frames_in_torch(self, pixels_N3HW: torch.Tensor) -> torch.Tensor:
            return super().encode_frames(pixels_N3HW)

    sample = SampleConfig(frames=4, policy="middle", keyframes=False)
    pairs = pairs_of(colours, ["red", "blue"])
    split = embed_pairs(TwoEngines(), pairs, sample)
    assert torch.equal(split.videos.frames_VFD, embed_pairs(FakeMethod(), pairs, sample).videos.frames_VFD)
    cache = tmp_path / "cache"
    list(embed_files(TwoEngines(), pairs.paths, middle_of(4), sampling_key="middle-4-1.0", cache=cache))
    again = embed_pairs(TwoEngines(), pairs, sample, cache=cache)
    assert torch.equal(again.videos.frames_VFD, split.videos.frames_VFD)
    library = [video for video in run(TwoEngines(), list(pairs.paths), None) if isinstance(video, EmbeddedVideo)]
    torch.testing.assert_close(torch.stack([video.frames_ND for video in library]), split.videos.frames_VFD + 1)


def test_nothing_readable_is_an_error(colours: Path) -> None:
    (colours / "red.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="no video of 1 could be read"):
        embed_pairs(FakeMethod(), pairs_of(colours, ["red"]), SampleConfig())


def test_spans_take_frames_of_their_part_alone(tmp_path: Path, clip: MakeClip) -> None:
    path = clip(tmp_path / "long.mp4", (10, 100, 200), frames=64)
    results = list(
        embed_files(
            FakeMethod(),
            [path, path, path],
            middle_of(4),
            sampling_key="middle-4",
            spans=[(0.0, 2.0), (4.0, 99.0), (50.0, 60.0)],
            cache=tmp_path / "cache",
        )
    )
    first, second, beyond = results
    assert isinstance(first, EmbeddedVideo)
    assert isinstance(second, EmbeddedVideo)
    assert isinstance(beyond, BrokenFile)
    assert 0 <= first.times_N.min() <= first.times_N.max() < 2.0
    assert 4.0 <= second.times_N.min() <= second.times_N.max() < 8.0
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 2


def test_padding_has_a_mask() -> None:
    videos = pad_videos([torch.ones(2, 3), torch.ones(1, 3)])
    assert videos.mask_VF.tolist() == [[True, True], [True, False]]
    assert videos.frames_VFD[1, 1].abs().sum() == 0
    with pytest.raises(ValueError, match="no video"):
        pad_videos([])


def test_content_hash_depends_on_bytes_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 3_000_000)
    (tmp_path / "c").write_bytes(b"x" * 2_999_999 + b"y")
    a, b, c = (content_hash(tmp_path / name) for name in "abc")
    assert a == b != c
    with pytest.raises(UnreadableVideo, match="cannot be read"):
        content_hash(tmp_path / "gone")


def test_a_cache_that_cannot_be_written_is_a_sentence(colours: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(ReelseekError, match="cache cannot be written"):
        run(FakeMethod(), [colours / "red.mp4"], tmp_path / "cache")


def test_no_two_lists_of_captions_share_a_place_in_the_cache(tmp_path: Path) -> None:
    lists = [["red\0green"], ["red", "green"], ["red,green"], ['red", "green'], ["red", "green\0"], ["red\0", "green"]]
    for captions in lists:
        embed_texts(FakeMethod(), captions, cache=tmp_path)
    for captions in lists:
        fresh, cached = embed_texts(FakeMethod(), captions), embed_texts(FakeMethod(), captions, cache=tmp_path)
        assert torch.equal(cached.pooled_TD, fresh.pooled_TD)
