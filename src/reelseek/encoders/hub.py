"""Finding a CLIP or SigLIP model by folder, local cache or hub, and reading its parts with transformers.

Not here: running the model (`reelseek.encoders.clip`). transformers is imported inside functions: it takes seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch

from reelseek.errors import HubUnreachable, ModelError
from reelseek.records import Preprocess

KINDS = ("clip", "siglip")
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
_HUB_SECONDS = 5.0
Found = TypeVar("Found")


def preprocess_from(settings: Mapping[str, Any] | None, *, side: int, kind: str) -> Preprocess:
    """How pixels are prepared, from the content of a preprocessor_config.json, or the kind's constants for None.

    side: the model's input in pixels. kind: "clip" or "siglip". ModelError where the file asks for something unknown.
    """
    if settings is None:
        if kind == "siglip":
            return Preprocess(side, side, (127.5,) * 3, (127.5,) * 3, squash=True)
        return Preprocess(side, side, _scaled(CLIP_MEAN), _scaled(CLIP_STD))
    size = settings.get("size", side)
    size = {"shortest_edge": size} if isinstance(size, int) else size
    if "shortest_edge" in size:
        resize, squash = int(size["shortest_edge"]), False
    elif size.get("height") is not None and size.get("height") == size.get("width"):
        resize, squash = int(size["height"]), True
    else:
        raise ModelError(f"preprocessor_config.json: no way to resize to {size} is known here")
    crop = settings.get("crop_size") if settings.get("do_center_crop", not squash) else resize
    crop = crop.get("height") if isinstance(crop, Mapping) else crop
    crop = resize if crop is None else int(crop)
    if crop != side or crop > resize:
        raise ModelError(
            f"preprocessor_config.json resizes to {resize} and crops {crop}, but the model takes {side} pixels"
        )
    names = {2: "bilinear", 3: "bicubic"}
    resample = settings.get("resample", 3)
    if resample not in names:
        raise ModelError(f"preprocessor_config.json: resampling filter {resample} is unknown here (2 or 3)")
    mean = _scaled(settings.get("image_mean") or CLIP_MEAN)
    std = _scaled(settings.get("image_std") or CLIP_STD)
    return Preprocess(resize, crop, mean, std, names[resample], squash)


def _scaled(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) * 255.0 for value in values)
    return red, green, blue


def write_folder(model: Any, tokenizer: Any, preprocess: Preprocess, folder: Path) -> None:
    """Write what `find` reads: model, tokenizer, and how pixels are prepared. OSError passes."""
    with _quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(_pixels(preprocess), indent=2), encoding="utf-8")


def _pixels(preprocess: Preprocess) -> dict[str, Any]:
    """The content of a preprocessor_config.json that `preprocess_from` reads back as it was."""
    side = {"height": preprocess.resize, "width": preprocess.resize}
    filters = {"bilinear": 2, "bicubic": 3}
    return {
        "size": side if preprocess.squash else {"shortest_edge": preprocess.resize},
        "do_center_crop": preprocess.crop != preprocess.resize or not preprocess.squash,
        "crop_size": {"height": preprocess.crop, "width": preprocess.crop},
        "resample": filters[preprocess.interpolation],
        "image_mean": [_share(value) for value in preprocess.mean],
        "image_std": [_share(value) for value in preprocess.std],
    }


def _share(value: float) -> float:
    """The number that gives `value` again, to the last bit, when it is read and multiplied by 255."""
    near = value / 255.0
    return next((n for n in (near, math.nextafter(near, 1), math.nextafter(near, 0)) if n * 255.0 == value), near)


def find(name: str) -> tuple[Any, Any, Preprocess]:
    """Model, tokenizer and preprocessing by folder or hub name; `load_clip` says which errors."""
    need_transformers(name)
    with _quiet():
        return _find(name)


def clip_model(settings: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> Any:
    """transformers' `CLIPModel` of a config.json's content and whole weights, in float32.

    Raises ModelError for weights that are missing, or whose shapes are others than the settings say.
    """
    need_transformers("a CLIP model")
    import transformers

    kind: Any = transformers.CLIPModel
    with _quiet():
        try:
            model, loading = kind.from_pretrained(
                None,
                config=transformers.CLIPConfig(**settings),
                state_dict=dict(weights),
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (RuntimeError, ValueError, KeyError) as error:
            raise ModelError(f"these weights do not fit together: {_first_line(error)}") from None
    if loading["missing_keys"]:
        lacking = sorted(loading["missing_keys"])
        raise ModelError(f"these weights lack {len(lacking)} of CLIP's, among them {lacking[0]}")
    return model


def find_tokenizer(name: str) -> Any:
    """The tokenizer of a folder, or of a hub name from the local cache or the hub; errors as `load_clip`."""
    need_transformers(name)
    with _quiet():
        if Path(name).is_dir():
            return _read_tokenizer(name, local=True)
        return _cached_or_hub(name, "tokenizer_config.json", _read_tokenizer)


def find_snapshot(name: str, patterns: Sequence[str]) -> Path:
    """The folder of a hub repository's files that fit `patterns`, from the local cache or the hub.

    Raises ModelError for a name that cannot be one, HubUnreachable as `load_clip`.
    """
    need_transformers(name)
    from huggingface_hub import snapshot_download

    def read(name: str, *, local: bool) -> Path:
        try:
            return Path(snapshot_download(name, allow_patterns=list(patterns), local_files_only=local))
        except (OSError, ValueError) as error:
            raise ModelError(f"{name}: {_first_line(error)}") from None

    with _quiet():
        return _cached_or_hub(name, "config.json", read)


def is_place(name: str) -> bool:
    """Whether a model's name can only be meant as a path: it is written as one, or its first part is a folder here.

    `runs/gare` has the form of a hub name; one whose owner has the name of a folder here is taken from the cache alone.
    """
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return True
    return "/" in name and Path(name).parent.is_dir() and not _is_cached(name)


def _is_cached(name: str) -> bool:
    try:
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except (ImportError, ValueError):  # without the package, or no possible name
        return False


def need_transformers(name: str) -> None:
    """Raises ModelError where transformers, an extra of the installation, is not there."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise ModelError(
            f"{name} needs the package transformers: run `pip install 'reelseek[clip]'`, or take the model 'offline'"
        ) from None


def _find(name: str) -> tuple[Any, Any, Preprocess]:
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder} has no config.json: it is not a model folder (see `reelseek convert`)")
        return _read(str(folder), local=True)
    if is_place(name) or folder.exists() or folder.suffix in (".pt", ".pth"):
        raise ModelError(f"{name} is not a model folder (weights files become one with `reelseek convert`)")
    return _cached_or_hub(name, "config.json", _read)


def _cached_or_hub(name: str, file: str, read: Callable[..., Found]) -> Found:
    """What `read` makes of a hub name: from the local cache if `file` is in it, else from the hub."""
    from huggingface_hub import constants, try_to_load_from_cache

    if is_place(name):
        raise ModelError(f"{name}: there is no such folder")
    try:
        cached = isinstance(try_to_load_from_cache(name, file), str)
    except ValueError:  # what the hub's client raises for a name that cannot be one
        raise ModelError(f"{name!r} is neither a folder nor a possible name on the hub") from None
    if cached:
        try:
            return read(name, local=True)
        except ModelError:  # a download that was broken off: the hub has the rest
            if constants.HF_HUB_OFFLINE:
                raise
    if constants.HF_HUB_OFFLINE:
        _unreachable(name, "HF_HUB_OFFLINE is set")
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=_HUB_SECONDS).close()
    except HTTPError as answer:
        if answer.code >= 500:
            _unreachable(name, f"{constants.ENDPOINT} answers {answer.code}")
    except OSError:
        _unreachable(name, f"{constants.ENDPOINT} does not answer")
    try:
        return read(name, local=False)
    except ModelError as error:
        if cached:
            raise
        _unreachable(name, str(error))


def _unreachable(name: str, why: str) -> NoReturn:
    raise HubUnreachable(
        f"{name} is neither a folder nor in the local cache, and the hub did not give it ({why}); "
        "the model 'offline' needs no download"
    ) from None


def _read(source: str, *, local: bool) -> tuple[Any, Any, Preprocess]:
    """Read all parts with transformers. ModelError for what is missing, damaged, or of another kind."""
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.from_pretrained(source, local_files_only=local)
        if config.model_type not in KINDS:
            raise ModelError(f"{source} is a {config.model_type!r} model; known here are {', '.join(KINDS)}")
        model, loading = AutoModel.from_pretrained(
            source, config=config, local_files_only=local, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = _read_tokenizer(source, local=local)
        settings = _preprocessor_settings(source, local=local)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{source} cannot be read as a model: {_first_line(error)}") from None
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ModelError(f"{source} lacks {len(missing)} weights, among them {missing[0]}")
    words, rows = max(tokenizer.get_vocab().values()), config.text_config.vocab_size
    if words >= rows:
        raise ModelError(f"{source}: its tokenizer counts to {words}, but the model knows {rows} tokens")
    return model, tokenizer, preprocess_from(settings, side=config.vision_config.image_size, kind=config.model_type)


def _read_tokenizer(source: str, *, local: bool) -> Any:
    """A tokenizer by transformers. ModelError for one that is missing or damaged."""
    from transformers import AutoTokenizer

    try:
        # Without any of these files transformers makes up an empty tokenizer that maps every text to the same numbers.
        if not any(_file(source, name, local=local) for name in _TOKENIZER_FILES):
            raise ModelError(f"{source} has no tokenizer: put the tokenizer.json of the original model into it")
        return AutoTokenizer.from_pretrained(source, local_files_only=local)
    except Exception as error:
        # A bare Exception is what the tokenizers package raises for damaged files: it has no class of its own.
        if type(error) is Exception or isinstance(error, OSError | ValueError | KeyError):
            raise ModelError(f"{source} cannot be read as a model: {_first_line(error)}") from None
        raise


def _preprocessor_settings(source: str, *, local: bool) -> dict[str, Any] | None:
    """Content of preprocessor_config.json, or of its part in the newer processor_config.json; None without either."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = _file(source, name, local=local)
        if path is not None:
            settings = json.loads(Path(path).read_text(encoding="utf-8"))
            return dict(settings.get("image_processor", settings))
    return None


def _file(source: str, name: str, *, local: bool) -> str | None:
    """Path of one file of a model, fetched if need be; None where the model has no such file."""
    from transformers.utils.hub import cached_file

    return cached_file(source, name, local_files_only=local, _raise_exceptions_for_missing_entries=False)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and remarks off the terminal while a model loads."""
    from transformers.utils import logging as remarks

    logging: Any = remarks
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
