"""Parquet files, by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator

from medqa_tui.corpus.readers.base import (
    Entry,
    Found,
    MissingLibraryError,
    ReadError,
    ReadOptions,
    Row,
)

_BATCH = 256


def read(entry: Entry, options: ReadOptions) -> Iterator[Found]:
    """Yield the rows of a Parquet file, a few hundred at a time.

    Raises:
        MissingLibraryError: pyarrow is not installed.
        ReadError: It is no Parquet file, or damaged.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingLibraryError("Parquet files", "pyarrow") from error
    number = 0
    with entry.seekable() as path:
        try:
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH):
                    for fields in batch.to_pylist():
                        number += 1
                        yield Row(entry.name, number, fields)
        except (pyarrow.ArrowException, OSError) as error:
            raise ReadError(f"not a Parquet file that can be read: {error}") from error
