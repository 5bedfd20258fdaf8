"""Checkpoints that other programs published, read as data: tensors and plain values by dotted names, never code.

A pickle is a program for a small machine, which can make it call anything. Here it runs on a machine that calls
nothing: every class or function that the file names becomes a :class:`Record` of the name and what it would be given,
and tensors are put together afterwards from records of torch's own few functions. What torch has saved within the
pickle is read by torch's loader of weights alone. Files of `torch.save` and of safetensors hold no more than data.
"""

from __future__ import annotations

import itertools
import json
import math
import mmap
import pickletools
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from gan_lightning.runtime import torchfile
from gan_lightning.runtime.errors import one_line, printable
from gan_lightning.runtime.torchfile import UnreadableError

VALUES = ("INT", "INT1", "INT2", "LONG", "LONG1", "LONG4", "FLOAT", "STRING", "UNICODE", "UNICODE8", "BYTES", "BYTES8")
VALUES += ("BYTEARRAY8",)  # endings of the instructions that a number or a text follows
PLAIN = (type(None), bool, int, float, str)
ORDERED = "collections.OrderedDict"
STANDARD = (ORDERED, "builtins.set")  # of Python's own, what networks hold
PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
STORAGE = "torch.storage._load_from_bytes"
SAFE_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}
ZIP = b"PK\x03\x04"  # at the head of files of `torch.save`; a pickle may have a zip's end within it
MOST = 10**5  # names in a file
LONGEST = 1000  # characters of a dotted name
COPIES = 8  # times that a file may give the same numbers to tensors, on the average
LONGEST_HEADER = 10**8  # bytes, of a safetensors file; its own bound


class Published(NamedTuple):
    """What a file holds.

    Attributes:
        tensors: by dotted names, such as "G_ema.synthesis.b4.const".
        settings: plain attributes of modules by dotted names; none where the file has no modules.
        parts: the names at its top, those of what is not read too.
    """

    tensors: dict[str, Tensor]
    settings: dict[str, Any]
    parts: list[str]


def read(path: str | Path) -> Published:
    """The tensors of a pickle of modules, of a state_dict that `torch.save` wrote, or of a safetensors file.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is damaged, of another kind, or holds what no network does; in a line that names it.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(32)
            if head.startswith(ZIP) or torchfile.LEGACY in head:
                return _named(torchfile.load_open(file))
            if head[8:9] == b"{":
                return _named(_safetensors(file))
            if not head:
                raise UnreadableError("is truncated or corrupt (0 bytes)")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:  # reads no further than its end
                return _named(records(data))
    except UnreadableError as error:
        raise ValueError(f"{printable(path)} {printable(error)}") from error
    except OSError:
        raise
    except Exception as error:  # a damaged file fails in as many ways as there are bytes
        what = f"is truncated or corrupt, or no checkpoint ({one_line(error, 100)})"
        raise ValueError(f"{printable(path)} {what}") from error


# Pickles.


class Record:
    """What a pickle would make an object of: nothing is made.

    Args:
        name: import path of the class or function.
        arguments: what it would be called with; None where it is only named.

    Attributes:
        state: what the object's attributes would be set to.
    """

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple | None = None) -> None:
        self.name, self.arguments, self.state = name, arguments, None

    def called(self, arguments: Any) -> Any:
        """The record of a call."""
        return {} if self.name == ORDERED else Record(self.name, arguments)


def records(data: BinaryIO | bytes) -> Any:
    """What a pickle stands for, in plain containers, values and records.

    Raises:
        UnreadableError: it names a part of Python that no network holds, or does what no published one does.
        Exception: it is damaged, in as many ways as there are bytes.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def popped(count: int | None = None) -> list[Any]:
        """So many of the last items, or those since the last mark."""
        at = len(stack) - count if count is not None else marks.pop()
        if at < 0:
            raise IndexError("an empty stack")
        items = stack[at:]
        del stack[at:]
        return items

    def pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
        """Keys and values; only texts and whole numbers are keys, since the hash of nested tuples may have no end."""
        both = zip(items[::2], items[1::2], strict=True)
        return ((key, value) for key, value in both if isinstance(key, (str, int)))

    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name == "MARK":
            marks.append(len(stack))
        elif name in ("NONE", "NEWTRUE", "NEWFALSE"):
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            count = {"EMPTY_TUPLE": 0, "TUPLE": None}.get(name, int(name[-1]) if name[-1].isdigit() else None)
            stack.append(tuple(popped(count)))
        elif name in ("EMPTY_LIST", "EMPTY_SET"):
            stack.append([])
        elif name in ("LIST", "FROZENSET"):
            stack.append(popped())
        elif name in ("EMPTY_DICT", "DICT"):
            stack.append(dict(pairs(popped(0 if name == "EMPTY_DICT" else None))))
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = popped(1 if name == "APPEND" else None)
            if isinstance(stack[-1], list):  # the items of a record of another class are dropped
                stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = popped(2 if name == "SETITEM" else None)
            if isinstance(stack[-1], dict):
                stack[-1].update(pairs(items))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            module, attribute = argument.split(" ", 1) if name == "GLOBAL" else popped(2)
            stack.append(_named_by(module, attribute))
        elif name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            made, *arguments = popped(3 if name == "NEWOBJ_EX" else 2)
            if not isinstance(made, Record) or made.arguments is not None or not isinstance(arguments[0], tuple):
                raise UnreadableError("calls what is no class or function: it is not a published checkpoint")
            stack.append(made.called(arguments[0]))
        elif name == "BUILD":
            (state,) = popped(1)
            if isinstance(stack[-1], Record):
                stack[-1].state = state
        elif name.endswith(VALUES):
            stack.append(argument)
        else:
            raise UnreadableError(f"has {name} in it, which no published checkpoint has: it is not read")
    raise UnreadableError("is truncated or corrupt")


def _named_by(module: Any, attribute: Any) -> Record:
    """The record of an import path; nothing is imported.

    Raises:
        UnreadableError: it is one of Python's own that no network holds.
    """
    if not (isinstance(module, str) and isinstance(attribute, str)):
        raise UnreadableError("names a class by what is no text: it is not a published checkpoint")
    name = f"{module}.{attribute}"
    if module.split(".")[0] in sys.stdlib_module_names and name not in STANDARD:
        raise UnreadableError(f"names {_short(name)}, which no network holds: it could run code, and is not read")
    if module.split(".")[:2] == ["dnnlib", "tflib"]:
        raise UnreadableError(
            "is of the TensorFlow versions of StyleGAN: bring it to PyTorch by legacy.py of "
            "github.com/NVlabs/stylegan2-ada-pytorch first"
        )
    return Record(name)


# Tensors and settings by names.


def _named(content: Any) -> Published:
    """What modules and mappings hold, however deep.

    Raises:
        UnreadableError: a tensor cannot be put together, has no numbers or fewer than places, there is no end of names,
            or many tensors have the same numbers.
        RecursionError: something holds itself.
    """
    found = Published({}, {}, [str(name) for name in content] if isinstance(content, dict) else [])
    count = itertools.count()
    inside: dict[int, dict[str, Any]] = {}  # by the id of what holds it: what stands in many places is looked at once
    storages: dict[int, torch.TypedStorage] = {}  # by the id of their record, as well
    held: dict[int, int] = {}  # bytes of numbers, by their address

    def walk(value: Any, name: str) -> None:
        if next(count) > MOST:  # few bytes can be many names: what stands twice in what stands twice in ...
            raise UnreadableError(f"holds more than {MOST} names: it is not a published checkpoint")
        if len(name) > LONGEST:
            raise UnreadableError(f"holds {_short(name)}, a name of more than {LONGEST} characters: it is not read")
        value = _tensor(value, name, storages) if _is_tensor(value) else value
        if isinstance(value, Tensor):
            numbers = value.untyped_storage()
            if value.is_meta or value.numel() == 0:
                raise UnreadableError(f"holds {_short(name)}, which has no numbers: it is not read")
            if value.nbytes > numbers.nbytes():
                raise UnreadableError(f"holds {_short(name)}, which has fewer numbers than places: it is not read")
            held[numbers.data_ptr()] = numbers.nbytes()
            found.tensors[name] = value
        elif isinstance(value, PLAIN):
            found.settings[name] = value
        else:
            if id(value) not in inside:
                inside[id(value)] = _inside(value)
            for key, item in inside[id(value)].items():
                walk(item, f"{name}.{key}" if name else key)

    walk(content, "")
    if sum(tensor.nbytes for tensor in found.tensors.values()) > COPIES * sum(held.values()):
        raise UnreadableError(f"gives the same numbers to more than {COPIES} tensors: it is not a published checkpoint")
    return found


def _inside(value: Any) -> dict[str, Any]:
    """What a module or a mapping holds by name; nothing of anything else."""
    if not isinstance(value, dict):
        state = _state(value)
        if not isinstance(state, dict) or "_modules" not in state:
            return {}
        own = {name: item for name, item in state.items() if isinstance(name, str) and name[:1] != "_"}
        value = {name: item for name, item in own.items() if isinstance(item, PLAIN)}
        for kind in ("_parameters", "_buffers", "_modules"):
            value |= state.get(kind) or {}
    return {name: item for name, item in value.items() if isinstance(name, str)}


def _state(value: Any) -> Any:
    """The attributes of an object, be it pickled as such or by NVlabs' `persistence`, whose source text is left."""
    if not isinstance(value, Record):
        return None
    if value.name != PERSISTENT:
        return value.state
    return value.arguments[0].get("state")


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Record) and value.arguments is not None and value.name in (*TENSORS, *PARAMETERS)


def _tensor(record: Any, name: str, storages: dict[int, torch.TypedStorage]) -> Tensor:
    """The tensor of a record.

    Args:
        record: of a tensor, or of a parameter.
        name: for messages.
        storages: those that were read before, by the id of their record; takes this one.

    Raises:
        UnreadableError: it is of something else than numbers.
    """
    while _is_tensor(record) and record.name in PARAMETERS:
        record = record.arguments[0]
    try:
        source, offset, size, stride = record.arguments[:4]
        if record.name not in TENSORS or source.name != STORAGE:
            raise ValueError("it is not made of numbers")
        if id(source) not in storages:
            storages[id(source)] = torchfile.load_open(BytesIO(source.arguments[0]))
        storage = storages[id(source)]
        if not isinstance(storage, torch.TypedStorage):
            raise ValueError("it is not made of numbers")
        return torch.empty(0, dtype=storage.dtype).set_(storage).as_strided(size, stride, offset)
    except Exception as error:  # as many ways as there are bytes
        raise UnreadableError(f"holds {_short(name)}, which cannot be read: {one_line(error, 150)}") from error


# safetensors.


def _safetensors(file: BinaryIO) -> dict[str, Tensor]:
    """The tensors of a file of github.com/huggingface/safetensors: a header of JSON, then the numbers.

    Raises:
        Exception: it is damaged.
    """
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > LONGEST_HEADER:
        raise UnreadableError("is neither a pickle, nor a file of torch.save or safetensors")
    text, numbers = file.read(length), file.read()
    if len(text) < length:
        raise UnreadableError("is truncated or corrupt")
    header = json.loads(text)
    if len(header) > MOST:
        raise UnreadableError(f"holds more than {MOST} names: it is not a published checkpoint")
    spans = sorted(about["data_offsets"] for name, about in header.items() if name != "__metadata__")
    if any(start < end for (_, end), (start, _) in itertools.pairwise(spans)):
        raise UnreadableError("is truncated or corrupt (tensors overlap)")
    found = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        if about["dtype"] not in SAFE_TYPES:
            raise UnreadableError(f"holds {_short(name)} as {about['dtype']}: {', '.join(SAFE_TYPES)} can be read")
        dtype, shape, (start, end) = getattr(torch, SAFE_TYPES[about["dtype"]]), about["shape"], about["data_offsets"]
        if not 0 <= start <= end <= len(numbers) or end - start != math.prod(shape) * dtype.itemsize:
            raise UnreadableError(f"is truncated or corrupt ({_short(name)})")
        part = bytearray(numbers[start:end])
        found[name] = torch.frombuffer(part, dtype=dtype).view(shape) if part else torch.empty(shape, dtype=dtype)
    return found


def _short(name: str) -> str:
    """A name in a line that can be printed."""
    text = printable(name)
    return text if len(text) <= 80 else text[:80] + " ..."
