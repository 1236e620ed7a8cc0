"""Weights files: every kind is read, and none of them runs anything."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from conftest import write_clip
from reelseek.checkpoint.read import read_weights
from reelseek.errors import ModelError, UnsafeFile


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.blocks = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3))
        self.small = nn.Parameter(torch.randn(5).half())
        self.register_buffer("count", torch.arange(4))
        self.sizes = [1, 2]
        self.label = "tiny"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.sizes[0] > 0:
            x = self.blocks(self.first(x))
        return x + self.count[0]


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return Tiny()


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name


def test_safetensors(tiny: Tiny, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in tiny.state_dict().items()}
    save_file(state, tmp_path / "x.safetensors")
    same(read_weights(tmp_path / "x.safetensors"), state)
    (tmp_path / "x.safetensors").rename(tmp_path / "x.bin")
    same(read_weights(tmp_path / "x.bin"), state)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_state_dicts_of_torch(tiny: Tiny, tmp_path: Path, new: bool, wrapper: str | None) -> None:
    state = tiny.state_dict()
    content = {wrapper: state, "epoch": 3} if wrapper else state
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    same(read_weights(tmp_path / "x.pth"), state)


def test_prefix_of_parallel_training_is_undone(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "module.module.b": torch.zeros(1)}, tmp_path / "x.pt")
    assert sorted(read_weights(tmp_path / "x.pt")) == ["a", "module.b"]


@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_archive(tiny: Tiny, tmp_path: Path, how: str) -> None:
    scripted = torch.jit.script(tiny) if how == "script" else torch.jit.trace(tiny, torch.zeros(1, 2))
    scripted.save(str(tmp_path / "x.pt"))
    found = read_weights(tmp_path / "x.pt")
    same(found, dict(scripted.state_dict()))


def test_torchscript_is_never_loaded_by_torch(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.jit.script(tiny).save(str(tmp_path / "x.pt"))
    for place, name in ((torch.jit, "load"), (torch, "load"), (pickle, "loads"), (pickle, "load")):
        monkeypatch.setattr(place, name, lambda *_, **__: pytest.fail("loaded"))
    assert read_weights(tmp_path / "x.pt")


# --- files that attack ---


class Attack:
    """Pickles to a call of any function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def attacks(flag: Path) -> dict[str, object]:
    return {
        "os.system": Attack(os.system, f"touch {flag}"),
        "eval": Attack(builtins.eval, f"open({str(flag)!r}, 'w')"),
        "exec": Attack(builtins.exec, f"open({str(flag)!r}, 'w')"),
        "getattr": Attack(builtins.getattr, "words", "upper"),
    }


def archive_with(tiny: Tiny, path: Path, pickled: bytes) -> Path:
    """A real TorchScript archive with another data.pkl."""
    torch.jit.script(tiny).save(str(path.with_suffix(".real")))
    with zipfile.ZipFile(path.with_suffix(".real")) as real, zipfile.ZipFile(path, "w") as made:
        for entry in real.infolist():
            is_pickle = entry.filename.endswith("/data.pkl")
            made.writestr(entry.filename, pickled if is_pickle else real.read(entry), entry.compress_type)
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("kind", ["os.system", "eval", "exec", "getattr"])
def test_an_attack_in_a_torchscript_archive_runs_nothing(tiny: Tiny, tmp_path: Path, kind: str, protocol: int) -> None:
    flag = tmp_path / "flag"
    attack = {"weight": attacks(flag)[kind]}
    path = archive_with(tiny, tmp_path / "x.pt", pickle.dumps(attack, protocol=protocol))
    with pytest.raises(UnsafeFile):
        read_weights(path)
    assert not flag.exists()


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("kind", ["os.system", "eval", "exec", "getattr"])
def test_an_attack_in_a_state_dict_runs_nothing(tmp_path: Path, kind: str, new: bool) -> None:
    flag = tmp_path / "flag"
    torch.save({"weight": attacks(flag)[kind]}, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
    with pytest.raises(UnsafeFile):
        read_weights(tmp_path / "x.pt")
    assert not flag.exists()


def test_the_attacks_would_work_on_a_plain_unpickler(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    pickle.loads(pickle.dumps(attacks(flag)["os.system"]))
    assert flag.exists()


def words(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


TENSOR = words("torch._utils", "_rebuild_tensor_v2")


def storage(kind: str = "FloatStorage", key: str = "0", count: int = 2) -> bytes:
    """The opcodes that refer to one storage entry."""
    text = b"".join(b"X" + struct.pack("<I", len(word)) + word.encode() for word in ("storage",))
    key_text = b"X" + struct.pack("<I", len(key)) + key.encode()
    place = b"X\x03\x00\x00\x00cpu"
    return b"(" + text + words("torch", kind) + key_text + place + b"J" + struct.pack("<i", count) + b"tQ"


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def tensor(size: int, stride: int, offset: int = 0, **where: object) -> bytes:
    shape, step = number(size) + b"\x85", number(stride) + b"\x85"
    return TENSOR + b"(" + storage(**where) + number(offset) + shape + step + b"\x89" + b"}tR"


def module(**values: bytes) -> bytes:
    body = b"".join(b"X" + struct.pack("<I", len(name)) + name.encode() + value for name, value in values.items())
    return b"\x80\x02" + words("__torch__", "A") + b")\x81}(" + body + b"ub."


def small_archive(path: Path, pickled: bytes, numbers: int = 2) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("x/data.pkl", pickled)
        made.writestr("x/constants.pkl", b"\x80\x02).")
        made.writestr("x/data/0", struct.pack(f"<{numbers}f", *range(1, numbers + 1)))
    return path


def test_a_hand_written_archive_is_read(tmp_path: Path) -> None:
    found = read_weights(small_archive(tmp_path / "x.pt", module(weight=tensor(2, 1))))
    assert found["weight"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "pickled",
    [
        module(weight=tensor(3, 1)),  # beyond the storage
        module(weight=tensor(2, 1, offset=1)),
        module(weight=tensor(1_000_000_000, 0)),  # a billion views of one number
        module(weight=tensor(2, 1, count=2_000_000_000)),
        module(weight=tensor(2, 1, kind="UntypedStorage")),
        module(weight=tensor(2, 1, key="1")),
        module(weight=tensor(2, 1, key="../../../../etc/passwd")),
        module(weight=tensor(-1, 1)),
        module(weight=tensor(2, 1))[:-5],
        module(weight=words("builtins", "eval") + b"X\x01\x00\x00\x001\x85R"),
        module(weight=words("os", "system") + b")\x81"),
        module(weight=words("torch.jit._pickle", "build_anything") + b")R"),
        b"\x80\x02]N}b.",  # state for a list
        b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s" + b"h\x07.",  # a memo that was never made
        b"\x80\x02N.",
        b"",
        b"u" * 50,
    ],
)
def test_archives_whose_pickle_does_not_add_up_are_refused(tmp_path: Path, pickled: bytes) -> None:
    with pytest.raises(ModelError):
        read_weights(small_archive(tmp_path / "x.pt", pickled))


def test_a_module_that_holds_itself_ends(tmp_path: Path) -> None:
    itself = b"\x80\x02" + words("__torch__", "A") + b")\x81q\x01}(X\x01\x00\x00\x00ah\x01ub."
    with pytest.raises(UnsafeFile, match="nest deeper"):
        read_weights(small_archive(tmp_path / "x.pt", itself))


def test_a_module_shared_in_ever_more_places_ends(tmp_path: Path) -> None:
    doubled = b"}q\x00"  # each dict holds the one before twice: 2 ** 60 paths
    for place in range(60):
        back = b"h" + bytes([place])
        doubled += b"}(X\x01\x00\x00\x00a" + back + b"X\x01\x00\x00\x00b" + back + b"uq" + bytes([place + 1])
    last = b"h" + bytes([60])
    with pytest.raises(UnsafeFile, match="nest deeper"):
        read_weights(small_archive(tmp_path / "x.pt", module(a=b"(" + doubled + b"t", b=last)))


def test_a_state_dict_of_endless_views_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1).expand(10_000_000, 10_000)}, tmp_path / "x.pt")
    with pytest.raises(UnsafeFile, match="larger than what the file holds"):
        read_weights(tmp_path / "x.pt")


@pytest.mark.parametrize("name", ["x/data.pkl", "x/data/0"])
def test_a_zip_bomb_is_refused_before_unpacking(tmp_path: Path, name: str) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x/constants.pkl", b"\x80\x02).")
        with made.open(name, "w", force_zip64=True) as entry:
            for _ in range(80):
                entry.write(bytes(2**20))
    (tmp_path / "x.pt").write_bytes(content.getvalue())
    assert (tmp_path / "x.pt").stat().st_size < 2**20
    with pytest.raises(UnsafeFile, match="unpack"):
        read_weights(tmp_path / "x.pt")


# --- files that are merely wrong ---


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 but no archive", os.urandom(200), b"\x80\x02."])
def test_what_is_no_weights_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.pt"):
        read_weights(tmp_path / "x.pt")


def test_torchs_advice_to_trust_a_file_is_passed_on_to_nobody(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", (200, 20, 20))
    torch.save({"a": Path("x")}, tmp_path / "x.pt")
    for path, message in ((video, "is damaged or no weights file"), (tmp_path / "x.pt", "not opened .*Path")):
        with pytest.raises(ModelError, match=message) as caught:
            read_weights(path)
        assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_cut_files_are_named(tiny: Tiny, tmp_path: Path, keep: float) -> None:
    torch.jit.script(tiny).save(str(tmp_path / "script.pt"))
    torch.save(tiny.state_dict(), tmp_path / "new.pt")
    torch.save(tiny.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file({"a": torch.zeros(100)}, tmp_path / "a.safetensors")
    for path in list(tmp_path.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * keep)])
        with pytest.raises(ModelError, match=path.name):
            read_weights(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], OrderedDict(a="b")])
def test_a_file_without_tensors_is_named(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ModelError, match="no tensors"):
        read_weights(tmp_path / "x.pt")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.pt", tmp_path):
        with pytest.raises(ModelError, match="cannot be read"):
            read_weights(path)
