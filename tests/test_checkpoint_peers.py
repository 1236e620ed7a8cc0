"""Trained weights of CLIP4Clip and GARE: read as they are, they score as their authors' networks do, pair by pair."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import cli_world
import reelseek
from conftest import write_clip
from original_clip import TEXT, OriginalClip, OriginalClip4Clip, noisy, write_words
from reelseek.app.commands import diagnose, evaluate
from reelseek.config import SampleConfig
from reelseek.data.pairs import Pairs
from reelseek.encoders import hub
from reelseek.errors import ConfigError, HubUnreachable, ModelError, UnsafeFile
from reelseek.methods.gare import GareHead
from reelseek.methods.method import Method
from reelseek.methods.peers import SAMPLE, Reading, load_file
from reelseek.methods.pretrained import convert_file
from reelseek.methods.saved import is_run, load, load_backbone, usual_settings
from reelseek.records import Texts, Videos
from reelseek.video.decode import decode
from reelseek.video.sample import sample_times
from reelseek.video.transform import preprocess

CAPTIONS = ["something red", "a green wall", "blue in the light", "the wall"]
SECONDS = {"red": 2, "green": 3, "blue": 5}
KINDS = ["mean", "lstm", "transformer"]
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a tokenizer."""
    folder = tmp_path_factory.mktemp("words")
    write_words(folder)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Videos of different lengths, so that a batch of them is padded."""
    folder = tmp_path_factory.mktemp("clips")
    colours = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}
    for name, seconds in SECONDS.items():
        write_clip(folder / f"{name}.mp4", colours[name], frames=4 * seconds, fps=4)
    rows = [f"{name}.mp4,something {name},test" for name in SECONDS]
    (folder / "captions.csv").write_text("\n".join(["video,caption,split", *rows]) + "\n")
    return [folder / f"{name}.mp4" for name in SECONDS]


def original(kind: str, seed: int = 0) -> OriginalClip4Clip:
    torch.manual_seed(seed)
    return noisy(OriginalClip4Clip(kind, OriginalClip(joint=TEXT, context=16)))


def psi_weights() -> dict[str, Tensor]:
    with np.load(GOLDEN / "gare_d64.npz") as file:
        return {key[2:]: torch.from_numpy(file[key]) for key in file.files if key.startswith("w.")}


def save(folder: Path, words: Path, state: dict[str, Tensor], name: str = "pytorch_model.bin.3") -> Path:
    for file in words.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    torch.save(state, folder / name)
    return folder / name


def gare_state(model: OriginalClip4Clip) -> dict[str, Tensor]:
    """As GARE's code saves it: the module under two names, and what it never uses."""
    module = psi_weights() | {"layers.0.linear2.weight": torch.ones(3), "log_std_proj.bias": torch.ones(2)}
    psi = {f"{prefix}psi.{name}": value for prefix in ("agent.", "") for name, value in module.items()}
    return model.state_dict() | psi | {"weight_fc.0.weight": torch.ones(2, 2)}


def exact(method: Method) -> Method:
    method.backbone.precision = "float32"
    return method


def tower_frames(model: OriginalClip4Clip, clips: list[Path], method: Method) -> list[Tensor]:
    """Of every video its frames [F, D], one a second, after tower and temporal part, each video by itself."""
    found = []
    for path in clips:
        frames = decode(path, lambda duration: sample_times(duration, SAMPLE), shape=method.preprocess)
        with torch.no_grad():
            towers_FD = model.clip.visual(preprocess(frames.pixels_FHW3, method.preprocess))
            found.append(model.frames(towers_FD[None], torch.ones(1, len(towers_FD), dtype=torch.bool))[0])
    assert [len(frames_FD) for frames_FD in found] == list(SECONDS.values())
    return found


def text_vector(model: OriginalClip4Clip, method: Method, caption: str) -> Tensor:
    ids_1L, _ = method.backbone.tokenize([caption])
    padded_1L = torch.nn.functional.pad(ids_1L, (0, len(model.clip.positional_embedding) - ids_1L.shape[1]))
    with torch.no_grad():
        return model.clip.encode_text(padded_1L)[0]


def reelseek_scores(method: Method, clips: list[Path]) -> np.ndarray:
    pairs = Pairs(
        name="clips", corpus="clips", texts=tuple(CAPTIONS), text_ids=("a", "b", "c", "d"),
        video_ids=tuple(path.stem for path in clips), paths=tuple(clips), video_of_T=np.array([0, 1, 2, 1]),
    )  # fmt: skip
    return reelseek.evaluate(method, pairs, sample=SAMPLE).matrix_TV


@pytest.mark.parametrize("kind", KINDS)
def test_clip4clip_scores_as_its_network_does(kind: str, words: Path, clips: list[Path], tmp_path: Path) -> None:
    model = original(kind)
    method = exact(load(str(save(tmp_path, words, model.state_dict()))))
    assert (method.name, method.config["temporal"]) == ("clip4clip", kind)
    matrix_TV = reelseek_scores(method, clips)
    for v, frames_FD in enumerate(tower_frames(model, clips, method)):
        mean_D = sum(frame_D / frame_D.norm() for frame_D in frames_FD) / len(frames_FD)
        for t, caption in enumerate(CAPTIONS):
            text_D = text_vector(model, method, caption)
            wanted = float(text_D @ mean_D / text_D.norm() / mean_D.norm())
            assert matrix_TV[t, v] == pytest.approx(wanted, abs=1e-5)
    assert torch.equal(method.log_scale, model.clip.logit_scale)


def weighted(text_D: Tensor, frames_FD: Tensor, temperature: float) -> Tensor:
    weights = torch.stack([torch.exp(text_D @ frame_D / temperature) for frame_D in frames_FD])
    return sum(weight * frame_D for weight, frame_D in zip(weights, frames_FD, strict=True)) / weights.sum()


@pytest.mark.parametrize("temperature", [3.0, 5.0])
def test_gare_scores_as_its_network_does(temperature: float, words: Path, clips: list[Path], tmp_path: Path) -> None:
    model = original("transformer")
    path = save(tmp_path, words, gare_state(model), "best.pth")
    method = exact(load_file(path, reading=Reading(frame_temperature=temperature)))
    assert (method.name, method.config["padding"]) == ("gare", "masked")
    head = GareHead.from_authors(psi_weights(), temperature=temperature)
    matrix_TV = reelseek_scores(method, clips)
    for v, frames_FD in enumerate(tower_frames(model, clips, method)):
        videos = Videos(frames_FD[None], torch.ones(1, len(frames_FD), dtype=torch.bool))
        for t, caption in enumerate(CAPTIONS):
            text_D = text_vector(model, method, caption)
            with torch.no_grad():
                increment_D = head.score_reference(Texts(text_D[None]), videos).increments[0, 0]
            video_D, moved_D = weighted(text_D, frames_FD, temperature), text_D + increment_D
            wanted = float(moved_D @ video_D / moved_D.norm() / video_D.norm())
            assert matrix_TV[t, v] == pytest.approx(wanted, abs=1e-5)


def test_gare_gives_the_numbers_that_its_authors_module_printed(words: Path, tmp_path: Path) -> None:
    with np.load(GOLDEN / "gare_d64.npz") as file:
        golden = {key: torch.from_numpy(np.asarray(file[key])) for key in ("text", "frames", "similarity", "temp")}
    reading = Reading(frame_temperature=float(golden["temp"]))
    method = load_file(save(tmp_path, words, gare_state(original("mean"))), reading=reading)
    mask_VF = torch.ones(golden["frames"].shape[:2], dtype=torch.bool)
    with torch.no_grad():
        texts, videos = method.project(Texts(golden["text"]), Videos(golden["frames"], mask_VF))
        found = method.score(texts, videos).matrix_TV
    torch.testing.assert_close(found, golden["similarity"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("side", "context", "sign"),
    [("video", "words", 1), ("video", "frames", 1), ("text", "words", 1), ("text", "frames", -1)],
)
def test_the_variant_of_gare_is_what_the_reading_says(
    side: str, context: str, sign: int, words: Path, tmp_path: Path
) -> None:
    path = save(tmp_path, words, gare_state(original("mean")))
    generator = torch.Generator().manual_seed(0)
    tokens_TLD = torch.randn(3, 5, TEXT, generator=generator)
    texts = Texts(tokens_TLD[:, -1], tokens_TLD, torch.ones(3, 5, dtype=torch.bool))
    videos = Videos(torch.randn(4, 6, TEXT, generator=generator), torch.ones(4, 6, dtype=torch.bool))
    head = GareHead(TEXT, temperature=3.0, dropout=0.0, side=side, context=context, sign=sign)
    head.load_state_dict(GareHead.from_authors(psi_weights(), temperature=3.0).state_dict())
    reading = Reading(side=side, context=context, sign=sign)
    method, usual = load_file(path, reading=reading), load_file(path)
    with torch.no_grad():
        wanted_TV = head.score_reference(texts, videos).matrix_TV
        found_TV, usual_TV = (one.score(*one.project(texts, videos)).matrix_TV for one in (method, usual))
    torch.testing.assert_close(found_TV, wanted_TV, atol=1e-5, rtol=0)
    assert (found_TV - usual_TV).abs().max() > 1e-3
    assert method.run["method"]["side"] == side


@pytest.mark.parametrize("variant", [{"side": "video"}, {"context": "words"}, {"sign": -1}], ids=str)
def test_a_variant_of_gare_is_refused_for_other_methods(variant: dict[str, Any], words: Path, tmp_path: Path) -> None:
    path = save(tmp_path, words, original("mean").state_dict())
    for name in ("clip4clip", "gare-baseline"):
        with pytest.raises(ConfigError, match=f"is read as {name}, which has no {next(iter(variant))}"):
            load_file(path, reading=Reading(method=name, **variant))


@pytest.mark.parametrize(
    ("name", "variant", "said"),
    [
        ("clip4clip", {"frame_temperature": 5.0}, "clip4clip, which has no temperature to set: leave it out"),
        ("clip4clip", {"padding": "counted", "frames": 64}, "clip4clip, which has no padding to set"),
        ("gare-baseline", {"padding": "counted", "frame_temperature": 5.0}, "gare-baseline, which has no padding to"),
    ],
)
def test_what_a_method_has_not_is_refused(
    name: str, variant: dict[str, Any], said: str, words: Path, tmp_path: Path
) -> None:
    path = save(tmp_path, words, original("mean").state_dict())
    with pytest.raises(ConfigError, match=said):
        load_file(path, reading=Reading(method=name, **variant))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--temperature", 5], "which has no temperature to set"),
        (["--padding", "counted"], "which has no padding to set"),
        (["--frames", 64, "--no-temporal"], "which has no temporal module and no frames to set"),
        (["--sign", -1], "which has no sign to set"),
        (["--method", "gare"], "can be read as zero-shot, not as 'gare'"),
    ],
    ids=str,
)
def test_convert_refuses_what_clip_alone_has_not(options: list[Any], said: str, words: Path, tmp_path: Path) -> None:
    path = save(tmp_path, words, OriginalClip().state_dict())
    assert said in cli_world.refused(2, "convert", path, tmp_path / "other", *options)
    assert not (tmp_path / "other").exists()


def test_gare_s_baseline_is_asked_for_by_name(words: Path, clips: list[Path], tmp_path: Path) -> None:
    model = original("transformer")
    path = save(tmp_path, words, model.state_dict())
    method = exact(load_file(path, reading=Reading(method="gare-baseline")))
    matrix_TV = reelseek_scores(method, clips)
    for v, frames_FD in enumerate(tower_frames(model, clips, method)):
        for t, caption in enumerate(CAPTIONS):
            text_D = text_vector(model, method, caption)
            video_D = weighted(text_D, frames_FD, 3.0)
            wanted = float(text_D @ video_D / text_D.norm() / video_D.norm())
            assert matrix_TV[t, v] == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(ConfigError, match="read as clip4clip or gare-baseline, not as 'gare'"):
        load_file(path, reading=Reading(method="gare"))


def test_the_temporal_module_can_be_left_out(words: Path, tmp_path: Path) -> None:
    path = save(tmp_path, words, gare_state(original("transformer")))
    method = load_file(path, reading=Reading(temporal=False))
    assert method.temporal is None
    assert load_file(path).temporal is not None


def test_clip_alone_is_zero_shot_and_towers_for_training(words: Path, tmp_path: Path) -> None:
    model = original("mean")
    path = save(tmp_path, words, model.clip.state_dict(), "ViT-B-32.pt")
    method = load(str(path))
    assert (method.name, method.trained_on) == ("zero-shot", "nothing: zero-shot")
    assert usual_settings(str(path))["sample"]["policy"] == SampleConfig().policy
    pixels_N3HW = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted_ND = model.clip.visual(pixels_N3HW)
    backbone = load_backbone(str(path))
    assert backbone.id == method.backbone_id
    torch.testing.assert_close(backbone.forward_frames(pixels_N3HW), wanted_ND, atol=1e-5, rtol=0)


def test_more_positions_than_the_text_tower_has_are_cut(words: Path, tmp_path: Path) -> None:
    state = original("transformer").state_dict()
    longer = torch.cat([state["frame_position_embeddings.weight"], torch.ones(5, TEXT)])
    method = load(str(save(tmp_path, words, state | {"frame_position_embeddings.weight": longer})))
    assert torch.equal(method.temporal.positions.weight, longer[:-5])


@pytest.mark.parametrize("kind", KINDS)
def test_converted_or_as_it_is_it_is_the_same_method(kind: str, words: Path, tmp_path: Path) -> None:
    path = save(tmp_path, words, gare_state(original(kind)))
    report = convert_file(path, tmp_path / "model")
    assert (report.layout, report.missing, report.unexpected, report.note) == ("gare", [], [], "")
    assert is_run(tmp_path / "model")
    assert load(str(tmp_path / "model")).id == load(str(path)).id
    assert usual_settings(str(tmp_path / "model"))["sample"] == usual_settings(str(path))["sample"]
    assert usual_settings(str(path))["sample"] == {"policy": "fps", "frames": 12, "fps": 1.0, "keyframes": False}
    for command in (evaluate, diagnose):
        assert command.parse([str(path)]).sample.policy == "fps"


def test_half_precision_weights_become_whole(words: Path, tmp_path: Path) -> None:
    state = {name: value.half() for name, value in gare_state(original("transformer")).items()}
    method = load(str(save(tmp_path, words, state)))
    assert {value.dtype for value in method.state_dict().values() if value.is_floating_point()} == {torch.float32}


# --- commands ---


def test_the_commands_take_the_file_itself(words: Path, clips: list[Path], tmp_path: Path) -> None:
    path = save(tmp_path, words, original("transformer").state_dict())
    data = ["--data.name", "folder", "--data", clips[0].parent, "--cache", tmp_path / "cache"]
    said = cli_world.run("evaluate", path, *data)
    assert said.code == 0, said
    assert "3 texts and 3 videos found, nothing missing" in said.out
    indexed = cli_world.run("index", clips[0].parent, "--index", tmp_path / "index", "--model", path)
    assert indexed.code == 0, indexed
    found = cli_world.run("search", "something red", "--index", tmp_path / "index")
    assert found.code == 0, found
    assert "red.mp4" in found.out


def test_convert_takes_what_the_file_does_not_say(words: Path, tmp_path: Path) -> None:
    path = save(tmp_path, words, gare_state(original("transformer")))
    options = ["--temperature", 5, "--padding", "counted", "--no-temporal", "--activation", "gelu"]
    said = cli_world.run("convert", path, tmp_path / "model", *options)
    assert said.code == 0, said
    assert "gare layout" in said.out
    config = load(str(tmp_path / "model")).config
    kept = {name: config[name] for name in ("frame_temperature", "padding", "counted_frames", "temporal")}
    assert kept == {"frame_temperature": 5.0, "padding": "counted", "counted_frames": 12, "temporal": "mean"}
    assert usual_settings(str(tmp_path / "model"))["sample"]["frames"] == 12
    assert "above 0" in cli_world.refused(2, "convert", path, tmp_path / "other", "--temperature", 0)
    assert "at least 1" in cli_world.refused(2, "convert", path, tmp_path / "other", "--frames", 0)
    assert "not as 'clip4clip'" in cli_world.refused(2, "convert", path, tmp_path / "other", "--method", "clip4clip")
    assert "holds something else" in cli_world.refused(1, "convert", path, words)
    missing = tmp_path / "pytorch_model.bin.7"
    assert "no such folder or file" in cli_world.refused(1, "evaluate", missing, "--data.name", "folder")


@pytest.mark.parametrize(("padding", "counted"), [("counted", 64), ("masked", 0)])
def test_convert_takes_the_frames_of_long_videos(padding: str, counted: int, words: Path, tmp_path: Path) -> None:
    path = save(tmp_path, words, gare_state(original("mean")))
    said = cli_world.run("convert", path, tmp_path / "model", "--padding", padding, "--frames", 64)
    assert said.code == 0, said
    method = load(str(tmp_path / "model"))
    assert (method.config["counted_frames"], method.head.counted_frames) == (counted, counted)
    assert evaluate.parse([str(tmp_path / "model")]).sample.frames == 64


def test_convert_takes_gare_s_variant_of_activitynet(words: Path, tmp_path: Path) -> None:
    path = save(tmp_path, words, gare_state(original("mean")))
    options = ["--side", "video", "--context", "words", "--sign", "-1"]
    said = cli_world.run("convert", path, tmp_path / "model", *options)
    assert said.code == 0, said
    method = load(str(tmp_path / "model"))
    assert {name: method.config[name] for name in ("side", "context", "sign")} == {
        "side": "video", "context": "words", "sign": -1,
    }  # fmt: skip
    assert method.head.needs_words
    assert "has no side" in cli_world.refused(
        2, "convert", save(tmp_path, words, original("mean").state_dict()), tmp_path / "other", *options
    )
    assert "--sign" in cli_world.refused(2, "convert", path, tmp_path / "other", "--sign", "2")


# --- refusals ---


class Danger:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("touched"),)


def test_nothing_in_a_file_runs(words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path, words, original("mean").state_dict() | {"x": Danger()})
    with pytest.raises(UnsafeFile, match="more than tensors"):
        load(str(path))
    (tmp_path / "old.bin").write_bytes(pickle.dumps({"clip.visual.conv1.weight": Danger()}, protocol=2))
    with pytest.raises(ModelError):
        load(str(tmp_path / "old.bin"))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_file_that_was_written_in_part_is_refused(part: float, words: Path, tmp_path: Path) -> None:
    path = save(tmp_path, words, original("transformer").state_dict())
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(ModelError, match="damaged"):
        load(str(path))


def change(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The state without a tensor, or with one of another shape where the name ends with ' cut'."""
    key, _, cut = name.partition(" ")
    value = state.pop(key)
    return state | ({key: value[:-1].clone()} if cut else {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip.ln_final.weight", "lack 1 of CLIP's"),
        ("clip.visual.transformer.resblocks.1.mlp.c_fc.bias", "lack 1 of CLIP's"),
        ("clip.token_embedding.weight", "not a whole CLIP"),
        ("clip.visual.ln_post.weight cut", "do not fit together"),
        ("transformerClip.resblocks.0.ln_1.bias", "do not fit together"),
        ("frame_position_embeddings.weight", "do not fit together"),
        ("frame_position_embeddings.weight cut", "do not fit together"),
        ("transformerClip.resblocks.1.mlp.c_fc.weight cut", "do not fit together"),
    ],
)
def test_missing_and_misshapen_tensors_are_refused(name: str, message: str, words: Path, tmp_path: Path) -> None:
    path = save(tmp_path, words, change(original("transformer").state_dict(), name))
    with pytest.raises(ModelError, match=message) as caught:
        load(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["mean_proj.bias", "layers.0.linear1.weight cut"])
def test_a_damaged_increment_module_is_refused(name: str, words: Path, tmp_path: Path) -> None:
    state = original("mean").state_dict() | {f"psi.{key}": value for key, value in change(psi_weights(), name).items()}
    with pytest.raises(ModelError, match="GARE's tensor"):
        load(str(save(tmp_path, words, state)))


def test_an_increment_module_of_another_width_is_refused(words: Path, tmp_path: Path) -> None:
    with np.load(GOLDEN / "gare_d32_rect.npz") as file:
        other = {f"psi.{key[2:]}": torch.from_numpy(file[key]) for key in file.files if key.startswith("w.")}
    with pytest.raises(ModelError, match="do not fit together"):
        load(str(save(tmp_path, words, original("mean").state_dict() | other)))


@pytest.mark.parametrize(
    ("name", "what"), [("cross.pooler.dense.bias", "tightTransf"), ("text_weight_fc.0.bias", "DRL"), ("odd", "another")]
)
def test_tensors_that_nothing_uses_are_refused(name: str, what: str, words: Path, tmp_path: Path) -> None:
    path = save(tmp_path, words, original("mean").state_dict() | {name: torch.ones(1)})
    with pytest.raises(ModelError, match=f"1 tensors have no place.*{name}.*{what}"):
        load(str(path))
    with pytest.raises(ModelError, match="no place"):
        convert_file(path, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_file_of_a_model_folder_is_sent_to_its_folder(words: Path, tmp_path: Path) -> None:
    path = save(tmp_path, words, {"vision_model.x": torch.ones(1)}, "weights.bin")
    with pytest.raises(ModelError, match="give the folder that holds it"):
        load(str(path))


# --- tokenizers ---


def test_without_a_tokenizer_the_message_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    torch.save(original("mean").state_dict(), tmp_path / "pytorch_model.bin.0")
    with pytest.raises(HubUnreachable, match=r"tokenizer.json, or bpe_simple_vocab_16e6.txt.gz .*beside the file"):
        load(str(tmp_path / "pytorch_model.bin.0"))


def test_the_hub_s_tokenizer_is_taken_from_the_cache(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, commit = tmp_path / "cache" / "models--openai--clip-vit-base-patch32", "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    save_to = repository / "snapshots" / commit
    save_to.mkdir(parents=True)
    for file in words.iterdir():
        (save_to / file.name).write_bytes(file.read_bytes())
    (save_to / "config.json").write_text('{"model_type": "clip"}')
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "urlopen", lambda *_, **__: pytest.fail("asked the hub"))
    torch.save(original("mean").state_dict(), tmp_path / "pytorch_model.bin.0")
    assert load(str(tmp_path / "pytorch_model.bin.0")).backbone.tokenize(["something red"])[0].shape == (1, 4)


def test_a_tokenizer_of_more_words_is_refused(tmp_path: Path) -> None:
    write_words(tmp_path, 40)
    torch.save(original("mean").state_dict(), tmp_path / "pytorch_model.bin.0")
    with pytest.raises(ModelError, match="counts to 39, but the model knows 30"):
        load(str(tmp_path / "pytorch_model.bin.0"))
