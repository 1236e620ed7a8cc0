"""Reads the tensors of a TorchScript archive, running nothing that the file says.

The archive is a zip file whose data.pkl is a pickle. Unpickling calls whatever the file names, so this is not done:
the pickle's operations are stepped through here, and a fixed list of names is understood by what is written below.
Script modules become records of attributes; their code is never looked at. Anything else raises UnsafeFile.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reelseek.errors import ModelError, UnsafeFile

_PICKLE_BYTES = 64 * 2**20
_PARTS = 1_000_000
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError)
_STORAGES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}


class Name(NamedTuple):
    """A class or function that the pickle mentions: words, never the thing itself."""

    module: str
    name: str


class Record:
    """A script module: nothing but its attributes."""

    def __init__(self) -> None:
        self.attributes: dict[Any, Any] = {}


class _Mark:
    """The pickle's mark on its stack."""


def read_archive(archive: zipfile.ZipFile, source: str) -> dict[str, Tensor]:
    """Tensors of a TorchScript archive under dotted attribute names.

    UnsafeFile for a pickle that names anything but tensors, containers and script modules, or whose sizes do not add
    up; ModelError for a damaged one.
    """
    entry = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
    if entry is None:
        raise ModelError(f"{source} has no data.pkl: it is not a TorchScript archive")
    if archive.getinfo(entry).file_size > _PICKLE_BYTES:
        raise UnsafeFile(f"{source}: its data.pkl claims {archive.getinfo(entry).file_size} bytes")
    folder = entry.removesuffix("data.pkl")
    try:
        root = _Reader(lambda key: archive.read(f"{folder}data/{key}"), source).run(archive.read(entry))
    except (*_DAMAGE, zipfile.BadZipFile) as error:
        raise ModelError(f"{source}: its data.pkl is damaged ({type(error).__name__}: {error})") from None
    return _flatten(root, source)


class _Reader:
    """A stack machine for the operations that TorchScript's pickles consist of."""

    def __init__(self, read: Callable[[str], bytes], source: str) -> None:
        self.read = read
        self.source = source
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Tensor] = {}

    def run(self, pickle: bytes) -> Any:
        """The object that the pickle describes."""
        for operation, argument, _ in pickletools.genops(pickle):
            step = _STEPS.get(operation.name)
            if step is None:
                raise UnsafeFile(
                    f"{self.source}: its pickle has the operation {operation.name}, which tensors never need"
                )
            step(self, argument)
        return self.stack.pop()

    def to_mark(self) -> list[Any]:
        """What stands above the last mark, taken off with it."""
        place = max(number for number, item in enumerate(self.stack) if isinstance(item, _Mark))
        items, self.stack = self.stack[place + 1 :], self.stack[:place]
        return items

    def reduce(self) -> Any:
        """The result of a call that is on the list, worked out here."""
        arguments, called = self.stack.pop(), self.stack.pop()
        if called == Name("torch._utils", "_rebuild_tensor_v2"):
            return self.tensor(*arguments[:4])
        if called == Name("collections", "OrderedDict"):
            return dict(*arguments)
        listing = isinstance(called, Name) and called.module == "torch.jit._pickle"
        if called == Name("torch._utils", "_rebuild_parameter") or (listing and called.name in _FIRST_ARGUMENT):
            return arguments[0]
        raise UnsafeFile(f"{self.source}: its pickle calls {_words(called)}, which holds no tensor")

    def new(self) -> Record:
        """An empty record for a script module; any other class is refused."""
        arguments, made = self.stack.pop(), self.stack.pop()
        if isinstance(made, Name) and made.module.split(".")[0] == "__torch__" and arguments == ():
            return Record()
        raise UnsafeFile(f"{self.source}: its pickle makes {_words(made)}, which is no script module")

    def build(self) -> None:
        """Give the record on top of the stack its attributes."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Record) or not isinstance(state, dict):
            raise UnsafeFile(f"{self.source}: its pickle sets the state of {_words(self.stack[-1])}")
        self.stack[-1].attributes = state

    def storage(self) -> Tensor:
        """The flat tensor of a storage entry, read once."""
        kind, storage, key, _, count = self.stack.pop()
        if kind != "storage" or storage.module != "torch" or storage.name not in _STORAGES:
            raise UnsafeFile(f"{self.source}: its pickle refers to {_words(storage)}, which is no storage of numbers")
        if key not in self.storages:
            content = bytearray(self.read(str(key)))
            dtype = _STORAGES[storage.name]
            self.storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        if self.storages[key].numel() != count:
            raise UnsafeFile(f"{self.source}: storage {key} holds {self.storages[key].numel()} numbers, not {count}")
        return self.storages[key]

    def tensor(self, storage_N: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A view of a storage; sizes beyond it are refused."""
        view = torch.as_strided(storage_N, size, stride, offset)
        if view.numel() > storage_N.numel():
            raise UnsafeFile(f"{self.source}: a tensor of shape {tuple(size)} is made of {storage_N.numel()} numbers")
        return view


_FIRST_ARGUMENT = {"build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag"}


def _words(thing: Any) -> str:
    return f"{thing.module}.{thing.name}" if isinstance(thing, Name) else f"a {type(thing).__name__}"


def _push(reader: _Reader, value: Any) -> None:
    reader.stack.append(value)


def _set_items(reader: _Reader, items: list[Any]) -> None:
    reader.stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _set_item(reader: _Reader) -> None:
    value, key = reader.stack.pop(), reader.stack.pop()
    _set_items(reader, [key, value])


def _append(reader: _Reader) -> None:
    value = reader.stack.pop()
    list.append(reader.stack[-1], value)


def _tuple_of(count: int) -> Callable[[_Reader, Any], None]:
    def step(reader: _Reader, _: Any) -> None:
        items = tuple(reader.stack[-count:])
        del reader.stack[-count:]
        reader.stack.append(items)

    return step


def _put(reader: _Reader, place: int) -> None:
    reader.memo[place] = reader.stack[-1]


_STEPS: dict[str, Callable[[_Reader, Any], None]] = {
    "PROTO": lambda reader, _: None,
    "STOP": lambda reader, _: None,
    "MARK": lambda reader, _: _push(reader, _Mark()),
    "NONE": lambda reader, _: _push(reader, None),
    "NEWTRUE": lambda reader, _: _push(reader, True),
    "NEWFALSE": lambda reader, _: _push(reader, False),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _push),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _push),
    "EMPTY_TUPLE": lambda reader, _: _push(reader, ()),
    "EMPTY_LIST": lambda reader, _: _push(reader, []),
    "EMPTY_DICT": lambda reader, _: _push(reader, {}),
    "TUPLE": lambda reader, _: _push(reader, tuple(reader.to_mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": lambda reader, _: _append(reader),
    "APPENDS": lambda reader, _: (lambda items: list.extend(reader.stack[-1], items))(reader.to_mark()),
    "SETITEM": lambda reader, _: _set_item(reader),
    "SETITEMS": lambda reader, _: (lambda items: _set_items(reader, items))(reader.to_mark()),
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "BINGET": lambda reader, place: _push(reader, reader.memo[place]),
    "LONG_BINGET": lambda reader, place: _push(reader, reader.memo[place]),
    "GLOBAL": lambda reader, words: _push(reader, Name(*words.split(" ", 1))),
    "BINPERSID": lambda reader, _: _push(reader, reader.storage()),
    "REDUCE": lambda reader, _: _push(reader, reader.reduce()),
    "NEWOBJ": lambda reader, _: _push(reader, reader.new()),
    "BUILD": lambda reader, _: reader.build(),
}


def _flatten(root: Any, source: str) -> dict[str, Tensor]:
    """The tensors below a record under their dotted names."""
    found: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any]] = [("", root)]
    # A few bytes of pickle can hold a record inside itself, or share it in ever more places: the walk is bounded.
    for _ in range(_PARTS):
        if not waiting:
            return found
        name, thing = waiting.pop()
        if isinstance(thing, Tensor):
            found[name] = thing
        children = thing.attributes if isinstance(thing, Record) else thing
        if isinstance(children, dict):
            waiting.extend((f"{name}.{key}" if name else str(key), child) for key, child in children.items())
        if len(name) > 1000:
            break
    raise UnsafeFile(f"{source}: its modules nest deeper or have more parts than any model's")
