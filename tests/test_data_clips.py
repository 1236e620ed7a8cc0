from __future__ import annotations

import pickle
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from reelseek.config import SampleConfig
from reelseek.data.clips import Clip, ClipDataset, collate
from reelseek.data.pairs import Pairs
from reelseek.records import BrokenFile, Preprocess
from reelseek.video.decode import decode
from reelseek.video.sample import sample_times
from reelseek.video.transform import cropped, normalised, preprocess

SPEC = Preprocess(resize=32, crop=32, mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
SAMPLE = SampleConfig(policy="fps", fps=4, frames=12)


def write_clip(path: Path, seconds: float) -> None:
    """Grey that brightens by 20 steps a second, at 8 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(round(seconds * 8)):
            pixels = np.full((32, 32, 3), 30 + number * 2.5, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Pairs:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "long.mp4", 3)
    write_clip(folder / "short.mp4", 1)
    (folder / "broken.mp4").write_text("no video")
    return Pairs(
        name="clips",
        texts=("long one", "short one", "long two", "broken", "part", "beyond"),
        text_ids=tuple("abcdef"),
        video_of_T=np.array([0, 1, 0, 2, 3, 4]),
        video_ids=("long", "short", "broken", "long#1-2", "short#5-6"),
        paths=tuple(folder / f"{name}.mp4" for name in ("long", "short", "broken", "long", "short")),
        spans=(None, None, None, (1.0, 2.0), (5.0, 6.0)),
    )


def test_a_clip_is_the_decoded_and_prepared_video(pairs):
    clip = ClipDataset(pairs, sample=SAMPLE, spec=SPEC)[2]
    assert isinstance(clip, Clip)
    assert (clip.text, clip.video, clip.caption) == (2, 0, "long two")
    frames = decode(pairs.paths[0], lambda duration: sample_times(duration, SAMPLE))
    assert clip.pixels_F3SS.dtype == torch.uint8
    assert torch.equal(normalised(clip.pixels_F3SS, SPEC), preprocess(frames.pixels_FHW3, SPEC))


def test_a_span_is_sampled_within_itself(pairs):
    clip = ClipDataset(pairs, sample=SAMPLE, spec=SPEC)[4]
    grey_F = clip.pixels_F3SS.float().mean((1, 2, 3))
    expected_F = 30 + 20 * torch.tensor([1.0, 1.25, 1.5, 1.75])
    torch.testing.assert_close(grey_F, expected_F, atol=3, rtol=0)


def test_broken_files_come_back_with_their_reason(pairs):
    dataset = ClipDataset(pairs, sample=SAMPLE, spec=SPEC)
    broken = dataset[3]
    assert isinstance(broken, BrokenFile)
    assert broken.path == pairs.paths[2]
    assert "broken.mp4" in broken.reason
    beyond = dataset[5]
    assert isinstance(beyond, BrokenFile)
    assert "'short#5-6' begins at 5.0 s" in beyond.reason


def test_a_batch_shrinks_by_its_broken_files_and_pads_with_a_mask(pairs):
    dataset = ClipDataset(pairs, sample=SAMPLE, spec=SPEC)
    batch = collate([dataset[text] for text in range(len(dataset))])
    assert batch.captions == ("long one", "short one", "long two", "part")
    assert batch.texts == (0, 1, 2, 4)
    assert batch.videos == (0, 1, 0, 3)
    assert len(batch.broken) == 2
    assert batch.mask_VF.sum(1).tolist() == [12, 4, 12, 4]
    assert batch.pixels_VF3SS.shape == (4, 12, 3, 32, 32)
    for row, text in enumerate(batch.texts):
        torch.testing.assert_close(batch.pixels_VF3SS[row][batch.mask_VF[row]], dataset[text].pixels_F3SS)
    assert batch.pixels_VF3SS.dtype == torch.uint8
    assert batch.pixels_VF3SS[~batch.mask_VF].max() == 0
    assert batch.pixels_VF3SS[batch.mask_VF].amin() > 0


def test_a_batch_of_broken_files_only_is_empty(pairs):
    dataset = ClipDataset(pairs, sample=SAMPLE, spec=SPEC)
    batch = collate([dataset[3], dataset[5]])
    assert batch.captions == ()
    assert len(batch.pixels_VF3SS) == len(batch.mask_VF) == 0
    assert len(batch.broken) == 2


def test_the_end_of_the_split_ends_iteration(pairs):
    dataset = ClipDataset(pairs, sample=SAMPLE, spec=SPEC)
    with pytest.raises(IndexError, match="text 6 of 6"):
        dataset[6]
    with pytest.raises(IndexError):
        dataset[-1]


@pytest.mark.filterwarnings("ignore:lance is not fork-safe:UserWarning")  # the workers never touch an index
def test_worker_processes_give_the_same_batches(pairs):
    dataset = pickle.loads(pickle.dumps(ClipDataset(pairs, sample=SAMPLE, spec=SPEC)))
    alone = list(DataLoader(dataset, batch_size=3, collate_fn=collate))
    shared = list(DataLoader(dataset, batch_size=3, collate_fn=collate, num_workers=2))
    assert len(alone) == len(shared) == 2
    for one, other in zip(alone, shared, strict=True):
        assert (one.texts, one.videos, one.captions, one.broken) == (
            other.texts,
            other.videos,
            other.captions,
            other.broken,
        )
        assert torch.equal(one.pixels_VF3SS, other.pixels_VF3SS)
        assert torch.equal(one.mask_VF, other.mask_VF)


def test_large_frames_are_resized_as_they_are_read(pairs, monkeypatch):
    from reelseek.data import clips

    seen = []

    def spy(pixels_FHW3, spec):
        seen.append(pixels_FHW3.shape)
        return cropped(pixels_FHW3, spec)

    monkeypatch.setattr(clips, "cropped", spy)
    small = SPEC._replace(resize=16, crop=16)
    ClipDataset(pairs, sample=SAMPLE, spec=small)[0]
    assert [shape[1:] for shape in seen] == [(16, 16, 3)]
