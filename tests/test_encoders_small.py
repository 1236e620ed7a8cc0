"""Small towers: what they compute, what they are called, their folders, training from nothing, and the command."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cli_world import refused, run
from conftest import COLOURS, write_colours
from conftest import TINY_TOWERS as SIZES
from reelseek import from_pretrained, save_pretrained
from reelseek.config import DataConfig, EvaluateConfig, MethodConfig, RunConfig, SampleConfig, TrainConfig
from reelseek.encoders.sizes import Sizes
from reelseek.encoders.small import SmallBackbone
from reelseek.errors import CheckpointError, ConfigError
from reelseek.evaluation import evaluate
from reelseek.methods.saved import INSIDE, load, load_backbone
from reelseek.methods.small_folders import is_small, load_small, make_small, save_small
from reelseek.recipes.run import load_data, train

# Workers that decode are forks; one that never touches an index may come from a process that has opened one.
pytestmark = pytest.mark.filterwarnings("ignore:lance is not fork-safe:UserWarning")

CAPTIONS = ["a dog runs the ball", "The red cat sleeps", "ball"]


@pytest.fixture
def towers() -> SmallBackbone:
    return make_small(CAPTIONS, SIZES)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))


def config_for(data: Path, backbone: Path) -> RunConfig:
    return RunConfig(
        data=DataConfig(name="folder", root=str(data)),
        sample=SampleConfig(frames=2),
        method=MethodConfig(name="gare", backbone=str(backbone)),
        train=TrainConfig(
            epochs=12, batch_size=4, learning_rate=1e-3, backbone_learning_rate=1e-2, max_logit_scale=20, device="cpu"
        ),
        evaluate=EvaluateConfig(bootstrap=0),
    )


def test_a_frame_s_vector_is_its_largest_values_over_all_places(towers: SmallBackbone) -> None:
    pixels_N3SS = torch.randn(2, 3, 16, 16)
    tower = towers.frame_tower
    found_ND = towers.encode_frames(pixels_N3SS)
    assert found_ND.shape == (2, 64)
    assert not found_ND.is_inference()
    for pixels_3SS, vector_D in zip(pixels_N3SS, found_ND, strict=True):
        grid_CSS = torch.zeros(8, 4, 4)
        for row in range(4):
            for column in range(4):
                patch_3PP = pixels_3SS[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                grid_CSS[:, row, column] = (tower.patches.weight * patch_3PP).sum((1, 2, 3)) + tower.patches.bias
        active_CSS = F.pad(F.gelu(grid_CSS), (1, 1, 1, 1))
        values = []
        for row in range(4):
            for column in range(4):
                around_C33 = active_CSS[:, row : row + 3, column : column + 3]
                block = tower.blocks[0]
                moved_C = grid_CSS[:, row, column] + (block.weight * around_C33).sum((1, 2, 3)) + block.bias
                values.append(tower.norm(moved_C))
        torch.testing.assert_close(vector_D, tower.joint(torch.stack(values).amax(0)), atol=1e-5, rtol=1e-5)


def test_many_frames_are_each_read_alone(towers: SmallBackbone) -> None:
    pixels_N3SS = torch.randn(300, 3, 16, 16)
    one_by_one_ND = torch.cat([towers.encode_frames(frame[None]) for frame in pixels_N3SS])
    torch.testing.assert_close(towers.encode_frames(pixels_N3SS), one_by_one_ND, atol=1e-5, rtol=1e-5)


def test_a_sentence_is_the_mean_of_its_tokens_whatever_stands_beside_it(towers: SmallBackbone) -> None:
    texts = towers.encode_texts(CAPTIONS)
    assert texts.tokens_TLD.shape[2] == texts.pooled_TD.shape[1] == towers.text_width == towers.frame_width == 64
    for number, caption in enumerate(CAPTIONS):
        alone = towers.encode_texts([caption])
        real_LD = texts.tokens_TLD[number][texts.mask_TL[number]]
        torch.testing.assert_close(texts.pooled_TD[number], real_LD.mean(0), atol=1e-6, rtol=0)
        torch.testing.assert_close(alone.pooled_TD[0], texts.pooled_TD[number], atol=1e-6, rtol=0)
    assert not texts.tokens_TLD[~texts.mask_TL].any()


def test_hundreds_of_texts_are_as_one_by_one(towers: SmallBackbone) -> None:
    captions = [f"{CAPTIONS[number % 3]} {number}" for number in range(300)]
    texts = towers.encode_texts(captions)
    torch.testing.assert_close(
        texts.pooled_TD[[0, 256, 299]],
        towers.encode_texts([captions[0], captions[256], captions[299]]).pooled_TD,
        atol=1e-6,
        rtol=0,
    )


def test_no_text_is_without_tokens_and_long_ones_are_cut(towers: SmallBackbone) -> None:
    ids_TL, mask_TL = towers.tokenize(["", "犬が走る 🎬", "dog " * 50])
    end = towers.tokenizer.token_to_id("<end>")
    assert mask_TL.sum(1).min() >= 1
    assert ids_TL.shape[1] == SIZES.tokens
    for ids_L, mask_L in zip(ids_TL, mask_TL, strict=True):
        assert ids_L[mask_L][-1] == end
    assert torch.isfinite(towers.encode_texts(["", "犬が走る"]).pooled_TD).all()
    with pytest.raises(ValueError, match="at least one caption"):
        towers.encode_texts([])


def test_words_left_out_are_not_attended_to() -> None:
    other = ["a dog swims the ball", *CAPTIONS[1:]]
    towers = make_small([*CAPTIONS, other[0]], SIZES._replace(pieces=400))
    everything = [[(0, len(caption))] for caption in CAPTIONS]
    plain, kept = towers.encode_texts(CAPTIONS), towers.encode_texts(CAPTIONS, keep=everything)
    torch.testing.assert_close(plain.pooled_TD, kept.pooled_TD, atol=1e-6, rtol=0)
    assert towers.token_spans(CAPTIONS)[0][-1] == (0, 0)
    left_out = towers.encode_texts(CAPTIONS, keep=[[(0, 5), (10, 19)], *everything[1:]])
    assert left_out.mask_TL[0].sum() < plain.mask_TL[0].sum()
    assert torch.equal(left_out.pooled_TD[1:], kept.pooled_TD[1:])
    # the same pieces around another word of as many pieces give the same vector
    swims = towers.encode_texts(other, keep=[[(0, 5), (11, 20)], *everything[1:]])
    assert torch.equal(swims.mask_TL, left_out.mask_TL)
    torch.testing.assert_close(swims.pooled_TD[0], left_out.pooled_TD[0], atol=1e-6, rtol=0)
    assert not torch.allclose(towers.encode_texts(other).pooled_TD[0], plain.pooled_TD[0], atol=1e-3)


def test_equal_arguments_give_equal_towers_and_others_give_others(towers: SmallBackbone) -> None:
    before = torch.random.get_rng_state()
    assert make_small(CAPTIONS, SIZES).id == towers.id
    assert torch.equal(torch.random.get_rng_state(), before)
    others = [
        make_small(CAPTIONS, SIZES, seed=1),
        make_small(CAPTIONS, SIZES._replace(blocks=2)),
        make_small(["another caption altogether"], SIZES),
    ]
    assert len({towers.id, *(other.id for other in others)}) == 4
    with torch.no_grad():
        towers.text_tower.joint.bias.add_(1)
    assert make_small(CAPTIONS, SIZES).id != towers.id


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"side": 20, "patch": 8}, "patches of 8 pixels do not divide a side of 20"),
        ({"width": 96}, "multiple of 64"),
        ({"layers": 0}, "layers must be at least 1, not 0"),
        ({"pieces": 256}, "pieces must be at least 257"),
        ({"tokens": 1}, "tokens must be at least 2"),
    ],
)
def test_sizes_that_no_towers_have_are_refused(change: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_small(CAPTIONS, SIZES._replace(**change))


def test_a_folder_gives_the_same_towers_back(towers: SmallBackbone, tmp_path: Path) -> None:
    save_small(towers, tmp_path / "small")
    assert is_small(tmp_path / "small")
    again = load_backbone(str(tmp_path / "small"))
    assert again.id == towers.id
    assert not again.training
    assert torch.equal(again.encode_texts(CAPTIONS).pooled_TD, towers.encode_texts(CAPTIONS).pooled_TD)


@pytest.mark.parametrize("harm", ["vocabulary", "no vocabulary", "sizes", "size", "weights"])
def test_a_damaged_folder_is_refused_in_words(towers: SmallBackbone, tmp_path: Path, harm: str) -> None:
    save_small(towers, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    if harm == "vocabulary":
        (tmp_path / "tokenizer.json").write_text("{")
    elif harm == "no vocabulary":
        (tmp_path / "tokenizer.json").unlink()
    elif harm == "weights":
        (tmp_path / "model.safetensors").write_bytes(b"0")
    else:
        config["sizes"] = {"side": 16} if harm == "sizes" else config["sizes"] | {"wings": 2}
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_small(tmp_path)
    assert not is_small(tmp_path / "nowhere")


def test_towers_learn_from_nothing_and_their_run_needs_nothing_beside_it(colours: Path, tmp_path: Path) -> None:
    save_small(make_small([f"a {name} wall" for name in COLOURS], SIZES), tmp_path / "blank")
    config = config_for(colours, tmp_path / "blank")
    blank = load_backbone(str(tmp_path / "blank"))
    outcome = train(config, tmp_path / "run")
    assert outcome.fit.history[-1]["R@1"] >= 75
    assert outcome.method.backbone_id != blank.id
    shutil.rmtree(tmp_path / "blank")
    shutil.copytree(tmp_path / "run", tmp_path / "elsewhere" / "run")
    shutil.rmtree(tmp_path / "run")
    again = load(str(tmp_path / "elsewhere" / "run"))
    assert again.id == outcome.method.id
    pairs = load_data(config.data).test
    assert pairs is not None
    mine, moved = (
        evaluate(method, pairs, config=config.evaluate, sample=config.sample, cache=tmp_path / "cache")
        for method in (outcome.method, again)
    )
    np.testing.assert_array_equal(mine.matrix_TV, moved.matrix_TV)
    # the towers inside are towers for the next run
    inside = tmp_path / "elsewhere" / "run" / INSIDE
    assert load_backbone(str(inside)).id == again.backbone_id
    given = save_pretrained(again, tmp_path / "given").folder
    assert from_pretrained(given).id == again.id


@pytest.mark.parametrize("setting", [{"freeze_layers": 0}, {"gradient_checkpointing": True}])
def test_settings_of_clip_s_towers_are_refused(colours: Path, tmp_path: Path, setting: dict[str, int]) -> None:
    save_small(make_small(CAPTIONS, SIZES), tmp_path / "blank")
    config = config_for(colours, tmp_path / "blank")
    with pytest.raises(ConfigError, match="small towers train whole"):
        train(replace(config, train=replace(config.train, **setting)), tmp_path / "run")


def test_the_command_writes_towers_and_says_how_to_train_them(colours: Path, tmp_path: Path) -> None:
    words = ["towers", "gare-folder", tmp_path / "blank", "--data", colours, "--side", "32", "--width", "64"]
    said = run(*words)
    assert said.code == 0
    towers = load_small(tmp_path / "blank")
    assert towers.sizes == Sizes(side=32, width=64)
    count = sum(parameter.numel() for parameter in towers.parameters())
    assert f"small towers of {count:,} parameters, untrained" in said.out
    assert "wall" in "".join(towers.tokenizer.encode("a red wall").tokens)
    line = said.out.splitlines()[-1].removeprefix("Next: reelseek ")
    trained = run(*shlex.split(line), "--out", tmp_path / "run", "--train.epochs", "1")
    assert trained.code == 0
    assert "already" in refused(2, *words)
    assert "multiple of 64" in refused(2, "towers", "gare-folder", tmp_path / "b", "--data", colours, "--width", "65")
    assert not (tmp_path / "b").exists()
