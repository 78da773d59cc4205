"""The table at the head of a safetensors file, read without loading a tensor."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medqa_tui.errors import MedQAError

# The format itself allows 100 MB; a table of 100,000 tensors is a tenth of that.
_MAX_HEADER = 10_000_000
_WIDTHS = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file: its type and its shape."""

    dtype: str
    shape: tuple[int, ...]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors that a safetensors file holds, by name.

    The layout is that of https://github.com/huggingface/safetensors#format: eight bytes of length,
    a JSON table, then the tensors without gaps.

    Raises:
        MedQAError: It is not such a file, is cut off, or its table contradicts its size.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if (start + file.read(len(_POINTER) - 8)).startswith(_POINTER):
                raise _wrong(path, "it is a pointer of git-lfs and not the file itself")
            (length,) = struct.unpack("<Q", start) if len(start) == 8 else (0,)
            if not 2 <= length <= min(_MAX_HEADER, size - 8):
                raise _wrong(path, f"its table would be {length} bytes long")
            file.seek(8)
            table = json.loads(file.read(length))
    except OSError as error:
        raise _wrong(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _wrong(path, "its table cannot be read") from error
    if not isinstance(table, dict):
        raise _wrong(path, "its table is no table")
    table.pop("__metadata__", None)
    return _checked(path, table, size - 8 - length)


def _checked(path: Path, table: Mapping[str, Any], room: int) -> dict[str, Tensor]:
    found, spans = {}, []
    for name, row in table.items():
        try:
            dtype, shape = str(row["dtype"]), tuple(row["shape"])
            begin, end = row["data_offsets"]
            sizes_are_whole = all(type(n) is int and n >= 0 for n in (*shape, begin, end))
            fits = sizes_are_whole and end - begin == math.prod(shape) * _WIDTHS[dtype]
        except (KeyError, TypeError, ValueError) as error:
            raise _wrong(path, f"the row of {name[:80]!r} cannot be read") from error
        if not fits:
            raise _wrong(path, f"the size of {name[:80]!r} contradicts its shape")
        spans.append((begin, end))
        found[name] = Tensor(dtype, shape)
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise _wrong(path, "its tensors overlap or leave gaps")
        at = end
    if at != room:
        raise _wrong(path, f"it holds {room} bytes of tensors instead of {at}")
    return found


def _wrong(path: Path, reason: str) -> MedQAError:
    return MedQAError(
        "A weights file is not a whole safetensors file.",
        f"{path.name}: {reason}.",
        "Get it again from where it came from.",
    )
