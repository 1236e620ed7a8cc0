from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from reelseek.records import Preprocess
from reelseek.video.transform import CLIP, preprocess, resize

SQUASH = Preprocess(224, 224, (127.5,) * 3, (127.5,) * 3, squash=True)
# height, width: landscape, odd, portrait, square, smaller than the input, already of the right size
SIZES = [(240, 427), (225, 361), (361, 225), (256, 256), (60, 100), (100, 60), (224, 224), (224, 299), (480, 854)]


def _noise(height, width, frames=2):
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def _smooth(height, width, frames=2):
    """Waves in three colours: edges as soft as a photograph's."""
    y, x = np.mgrid[:height, :width]
    phase = np.arange(frames * 3).reshape(frames, 1, 1, 3)
    waves = np.sin(x[..., None] / 9 + phase) + np.sin(y[..., None] / 7 - phase)
    return (127.5 + 60 * waves).astype(np.uint8)


def _steps(ours, reference, spec):
    """Distance in steps of 255."""
    return (ours - reference).abs() * torch.tensor(spec.std).view(3, 1, 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("spec", "processor"), [(CLIP, CLIPImageProcessorPil), (SQUASH, SiglipImageProcessorPil)], ids=["crop", "squash"]
)
def test_equals_the_pil_processors(size, spec, processor):
    """Photograph-like frames: at most 2 of 255 steps, 0.02 on average."""
    frames = _smooth(*size)
    reference = processor()(list(frames), return_tensors="pt")["pixel_values"]
    ours = preprocess(frames, spec)
    assert ours.shape == reference.shape == (2, 3, 224, 224)
    assert ours.dtype == torch.float32
    assert ours.is_contiguous()
    assert _steps(ours, reference, spec).max() < 2.01
    assert _steps(ours, reference, spec).mean() < 0.02


@pytest.mark.parametrize("size", [size for size in SIZES if size[0] <= size[1]])
def test_equals_the_pil_processor_on_noise(size):
    """The hardest edges there are; landscape and square, where all versions of Pillow resize columns first."""
    frames = _noise(*size)
    reference = CLIPImageProcessorPil()(list(frames), return_tensors="pt")["pixel_values"]
    assert _steps(preprocess(frames, CLIP), reference, CLIP).max() < 2.01


def test_other_sizes_and_filters_follow_the_pil_processor():
    frames = _smooth(300, 420)
    spec = CLIP._replace(resize=256, crop=223, interpolation="bilinear")
    settings = {"size": {"shortest_edge": 256}, "crop_size": {"height": 223, "width": 223}, "resample": 2}
    reference = CLIPImageProcessorPil(**settings)(list(frames), return_tensors="pt")["pixel_values"]
    assert _steps(preprocess(frames, spec), reference, spec).max() < 2.01


@pytest.mark.parametrize(
    ("size", "expected"),
    [((240, 427), (224, 398)), ((427, 240), (398, 224)), ((1080, 1920), (224, 398)), ((9, 9), (224, 224))],
)
def test_the_longer_side_is_cut_to_a_whole_number(size, expected):
    assert resize(_noise(*size, frames=1), CLIP).shape[1:3] == expected


def test_resizing_first_changes_nothing():
    frames = _noise(300, 420)
    small = resize(frames, CLIP)
    assert small.dtype == np.uint8
    assert resize(small, CLIP) is small
    assert torch.equal(preprocess(small, CLIP), preprocess(frames, CLIP))


def test_a_batch_equals_its_frames():
    frames = _noise(250, 300, frames=3)
    assert torch.equal(preprocess(frames, CLIP), torch.cat([preprocess(frame[None], CLIP) for frame in frames]))


def test_views_and_read_only_frames_are_taken():
    frames = _noise(300, 420)
    turned = np.rot90(frames, axes=(1, 2))
    expected = preprocess(np.ascontiguousarray(turned), CLIP)
    assert torch.equal(preprocess(turned, CLIP), expected)
    frames.setflags(write=False)
    assert torch.equal(preprocess(frames[:, ::-1], CLIP), preprocess(frames[:, ::-1].copy(), CLIP))
    fitting = _noise(224, 224)
    fitting.setflags(write=False)
    before = fitting.copy()
    preprocess(fitting, CLIP)
    assert np.array_equal(fitting, before)


def test_a_fitting_frame_is_only_normalised():
    frames = _noise(224, 224, frames=1)
    expected = (frames[0, 5, 7].astype(float) / 255 - [0.48145466, 0.4578275, 0.40821073]) / [
        0.26862954,
        0.26130258,
        0.27577711,
    ]
    np.testing.assert_allclose(preprocess(frames, CLIP)[0, :, 5, 7], expected, rtol=1e-5, atol=1e-6)


def test_no_frames_give_no_frames():
    assert preprocess(np.empty((0, 30, 40, 3), np.uint8), CLIP).shape == (0, 3, 224, 224)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((1, 3, 30, 40), np.uint8), np.zeros((30, 40, 3), np.uint8), np.zeros((1, 30, 40, 3), np.float32)],
)
def test_other_pixels_are_refused(frames):
    with pytest.raises(ValueError, match="frames must be uint8"):
        preprocess(frames, CLIP)


def test_a_crop_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a crop of 225 pixels does not fit"):
        preprocess(_noise(300, 300), CLIP._replace(crop=225))
