"""Prepared videos: the compiled pass and half-precision operands with exact leaders, against scoring at once."""

import importlib.util
import os
import subprocess
import sys
import threading

import pytest
import torch
from torch import Tensor

from reelseek.methods import gare_fused, gare_scorers
from reelseek.methods.gare import GareHead
from reelseek.records import Texts, Videos
from reelseek.threads import side_by_side


def world(texts: int, videos: int, frames: int, width: int = 16, *, seed: int = 0) -> tuple[Texts, Videos]:
    draw = torch.Generator().manual_seed(seed)
    mask_VF = torch.ones(videos, frames, dtype=torch.bool)
    for video in range(0, videos, 3):
        mask_VF[video, 1 + video % frames :] = False
    frames_VFD = 2 * torch.randn(videos, frames, width, generator=draw) + 0.5
    texts_TD = 2 * torch.randn(texts, width, generator=draw) + frames_VFD[:, 0].repeat(1 + texts // videos, 1)[:texts]
    return Texts(texts_TD), Videos(frames_VFD, mask_VF)


def head_of(**settings: object) -> GareHead:
    torch.manual_seed(3)
    head = GareHead(16, temperature=2.5, **settings).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return head


@pytest.fixture
def fused_from_one_pair(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(gare_fused, "FUSED_PAIRS", 1)
    calls: list[int] = []
    tile = gare_scorers.fused_tile
    monkeypatch.setattr(gare_scorers, "fused_tile", lambda *args: calls.append(1) or tile(*args))
    return calls


def test_numba_is_installed() -> None:
    assert importlib.util.find_spec("numba") is not None


@pytest.mark.parametrize(
    "settings", [{}, {"sign": -1}, {"query": "text"}, {"padding": "counted"}, {"initialisation": "identity"}], ids=str
)
@pytest.mark.parametrize(("texts", "videos", "frames"), [(64, 5, 1), (65, 7, 5), (200, 9, 12)])
def test_the_compiled_pass_is_the_score(
    fused_from_one_pair: list[int], settings: dict[str, object], texts: int, videos: int, frames: int
) -> None:
    head = head_of(**settings)
    some_texts, some_videos = world(texts, videos, frames)
    expected_TV = head.score(some_texts, some_videos).matrix_TV.detach()
    found_TV = head.prepare(some_videos)(some_texts)
    assert fused_from_one_pair
    torch.testing.assert_close(found_TV, expected_TV, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_the_compiled_pass_keeps_cosines_of_any_scale(fused_from_one_pair: list[int], scale: float) -> None:
    head = head_of()
    for part in head.psi.mean_proj.parameters():  # else the increments drown small embeddings
        torch.nn.init.zeros_(part)
    texts, videos = world(64, 5, 3)
    texts, videos = texts.each(lambda x: x * scale), videos._replace(frames_VFD=videos.frames_VFD * scale)
    found_TV = head.prepare(videos)(texts)
    assert fused_from_one_pair
    assert found_TV.abs().max() > 0.2
    torch.testing.assert_close(found_TV, head.score(texts, videos).matrix_TV.detach(), atol=1e-5, rtol=0)


def test_texts_in_several_tiles(fused_from_one_pair: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gare_scorers, "TILE_TEXTS", 100)
    head = head_of()
    texts, videos = world(201, 6, 4)
    expected_TV = head.score(texts, videos).matrix_TV.detach()
    torch.testing.assert_close(head.prepare(videos)(texts), expected_TV, atol=1e-5, rtol=0)
    assert len(fused_from_one_pair) == 3


@pytest.mark.parametrize("settings", [{"side": "video"}, {"heads": 2}, {"layers": 2}], ids=str)
def test_other_variants_take_the_other_path(fused_from_one_pair: list[int], settings: dict[str, object]) -> None:
    head = head_of(**settings)
    texts, videos = world(70, 6, 4)
    expected_TV = head.score(texts, videos).matrix_TV.detach()
    torch.testing.assert_close(head.prepare(videos)(texts), expected_TV, atol=1e-5, rtol=0)
    assert not fused_from_one_pair


def test_fewer_texts_than_the_loops_take_at_a_time_go_the_other_way(fused_from_one_pair: list[int]) -> None:
    loops = importlib.import_module("reelseek.methods.gare_loops")
    assert gare_fused.FEWEST_TEXTS >= loops.LANES  # below, the loops would write outside their arrays
    head = head_of()
    texts, videos = world(63, 9, 4)
    expected_TV = head.score(texts, videos).matrix_TV.detach()
    torch.testing.assert_close(head.prepare(videos)(texts), expected_TV, atol=1e-5, rtol=0)
    assert not fused_from_one_pair


def test_without_numba(monkeypatch: pytest.MonkeyPatch, fused_from_one_pair: list[int]) -> None:
    monkeypatch.setattr(gare_fused, "_loops", lambda: None)
    head = head_of()
    texts, videos = world(70, 6, 4)
    expected_TV = head.score(texts, videos).matrix_TV.detach()
    torch.testing.assert_close(head.prepare(videos)(texts), expected_TV, atol=1e-5, rtol=0)
    assert not fused_from_one_pair


def leaders_of(matrix_TV: Tensor, count: int) -> Tensor:
    return matrix_TV.topk(count, dim=1).indices


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("settings", [{}, {"side": "video"}, {"heads": 2}, {"layers": 2}], ids=str)
def test_leaders_are_exact(monkeypatch: pytest.MonkeyPatch, fused: bool, settings: dict[str, object]) -> None:
    monkeypatch.setattr(gare_fused, "FUSED_PAIRS", 1 if fused else 1 << 60)
    monkeypatch.setattr(gare_scorers, "computes_bf16", lambda: True)
    head = head_of(**settings)
    texts, videos = world(130, 60, 6)
    expected_TV = head.score(texts, videos).matrix_TV.detach()
    found_TV = head.prepare(videos, leaders=20)(texts)
    ten_TK = leaders_of(expected_TV, 10)
    assert torch.equal(leaders_of(found_TV, 10), ten_TK)
    torch.testing.assert_close(found_TV.gather(1, ten_TK), expected_TV.gather(1, ten_TK), atol=1e-5, rtol=0)
    rest = (found_TV - expected_TV).abs().max()
    assert 1e-5 < rest < 0.05  # the others are rounded: if they were not, nothing was gained


def test_without_the_instructions_everything_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gare_scorers, "computes_bf16", lambda: False)
    head = head_of()
    texts, videos = world(130, 60, 6)
    expected_TV = head.score(texts, videos).matrix_TV.detach()
    torch.testing.assert_close(head.prepare(videos, leaders=2)(texts), expected_TV, atol=1e-5, rtol=0)


def test_one_video_that_leads_all_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gare_scorers, "computes_bf16", lambda: True)
    head = head_of()
    texts, videos = world(100, 40, 3)
    expected_TV = head.score(texts, videos).matrix_TV.detach()
    found_TV = head.prepare(videos, leaders=1)(texts)
    best_T1 = leaders_of(found_TV, 1)
    torch.testing.assert_close(found_TV.gather(1, best_T1), expected_TV.gather(1, best_T1), atol=0.05, rtol=0)
    everything_TV = head.prepare(videos, leaders=1000)(texts)
    torch.testing.assert_close(everything_TV, expected_TV, atol=1e-5, rtol=0)


def test_bad_leaders() -> None:
    texts, videos = world(4, 3, 2)
    with pytest.raises(ValueError, match="leaders must be 0"):
        head_of().prepare(videos, leaders=-1)
    with pytest.raises(ValueError, match="words for context"):
        head_of(context="words").prepare(videos, leaders=5)
    texts.pooled_TD[1] = torch.nan
    with pytest.raises(ValueError, match="text 1"):
        head_of().prepare(videos, leaders=2)(texts)


def test_threads_side_by_side_stay_for_the_next_call() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        calls = [set(side_by_side(lambda _: threading.get_ident(), range(8))) for _ in range(20)]
    finally:
        torch.set_num_threads(before)
    assert len(set.union(*calls)) <= 2
    assert threading.get_ident() not in set.union(*calls)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_work_side_by_side_goes_on_in_a_forked_process() -> None:
    program = (
        "import os, signal, torch\n"
        "from reelseek.threads import side_by_side\n"
        "torch.set_num_threads(2)\n"
        "assert side_by_side(abs, [1, -2, -3]) == [1, 2, 3]\n"
        "if (child := os.fork()) == 0:\n"
        "    signal.alarm(30)\n"
        "    os._exit(0 if side_by_side(abs, [1, -2, -3]) == [1, 2, 3] else 1)\n"
        "raise SystemExit(os.waitpid(child, 0)[1])\n"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=100, check=False).returncode == 0


def test_work_side_by_side_keeps_order_modes_and_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with torch.no_grad():
            found = side_by_side(lambda n: (n, torch.is_grad_enabled(), torch.get_num_threads()), range(5))
        assert found == [(n, False, 1) for n in range(5)]
        assert torch.get_num_threads() == 2
        torch.set_num_threads(3)
        torch.set_num_threads(2)
        assert side_by_side(lambda n: torch.get_num_threads(), range(5)) == [1] * 5
        assert side_by_side(lambda n: torch.is_grad_enabled(), range(2)) == [True, True]
        with torch.inference_mode():
            assert side_by_side(lambda n: torch.is_inference_mode_enabled(), range(2)) == [True, True]
        with pytest.raises(ZeroDivisionError):
            side_by_side(lambda n: 1 // n, range(3))
        torch.set_num_threads(1)
        assert side_by_side(lambda n: n + 1, range(3)) == [1, 2, 3]
    finally:
        torch.set_num_threads(before)
