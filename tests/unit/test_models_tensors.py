"""The table of a safetensors file: whole ones are read, all others are refused in words."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from tiny_peft import safetensors, tensors

from medqa_tui.errors import MedQAError
from medqa_tui.models.tensors import Tensor, read_tensors

WHOLE = safetensors({"a": (2, 3), "b": (4,)}, "BF16")


def packed(table: object, body: bytes = b"") -> bytes:
    head = json.dumps(table).encode()
    return struct.pack("<Q", len(head)) + head + body


def row(shape: list[object], begin: object, end: object, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(WHOLE)
    assert read_tensors(path) == {"a": Tensor("BF16", (2, 3)), "b": Tensor("BF16", (4,))}


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    from safetensors.numpy import save_file

    path = tmp_path / "x.safetensors"
    arrays = {name: numpy.zeros(shape, "float32") for name, shape in tensors().items()}
    save_file(arrays, path, {"format": "pt"})
    assert {name: t.shape for name, t in read_tensors(path).items()} == tensors()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02",
        WHOLE[:-1],
        WHOLE + b"\0",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 50_000_000) + b"{" + b" " * 100,
        struct.pack("<Q", 4) + b"nope",
        struct.pack("<Q", 20000) + b"[" * 20000,
        b"\x80\x04\x95" + b"\0" * 64,
        b"PK\x03\x04" + b"\0" * 64,
        packed([]),
        packed({"a": 1}),
        packed({"a": row([2], 0, 4)}, bytes(8)),
        packed({"a": row([-1], 0, -4)}),
        packed({"a": row([1.0], 0, 4)}, bytes(4)),
        packed({"a": row([1], 0, 4, "OBJECT")}, bytes(4)),
        packed({"a": row([1], 0, 4), "b": row([1], 0, 4)}, bytes(4)),
        packed({"a": row([1], 4, 8)}, bytes(8)),
        packed({"a": row([1], 0, True)}, bytes(4)),
    ],
)
def test_anything_else_is_refused_in_words(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(MedQAError, match="not a whole safetensors file") as caught:
        read_tensors(path)
    assert "x.safetensors" in caught.value.detail


def test_a_pointer_of_git_lfs_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(MedQAError) as caught:
        read_tensors(path)
    assert "git-lfs" in caught.value.detail


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(MedQAError):
        read_tensors(tmp_path / "none.safetensors")
