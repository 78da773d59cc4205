"""Git's hash of a folder tree, over a zip archive: are these the very files of a commit?"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Any

_FILE, _FOLDER = b"100644", b"40000"
_SHA1 = 20
_MAX_MEMBER = 64 << 20
# Far more than any data set that is known by its tree.
_MAX_TOTAL = 1 << 30
# What a damaged archive raises, or one in which a file is a folder too.
_NOT_SO = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError),
    *(AttributeError, TypeError),
)

_Tree = dict[bytes, Any]


def tree_hash(archive: Path) -> str | None:
    """Return the hash of the tree under the one top folder of `archive`, or None if it has not one.

    All of its files are taken as plain ones (mode 100644). The format is that of git's own objects
    (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects).
    """
    tree: _Tree = {}
    left = _MAX_TOTAL
    try:
        with zipfile.ZipFile(archive) as members:
            for member in members.infolist():
                top, _, name = member.filename.partition("/")
                if member.filename.endswith("/"):
                    continue
                left -= member.file_size
                if not name or member.file_size > _MAX_MEMBER or left < 0:
                    return None
                _put(tree, [top, *name.split("/")], _hash(b"blob", members.read(member)))
        return _tree(next(iter(tree.values()))).hex() if len(tree) == 1 else None
    except _NOT_SO:
        return None


def _put(tree: _Tree, path: list[str], blob: bytes) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part.encode(), {})
    tree[path[-1].encode()] = blob


def _tree(tree: _Tree) -> bytes:
    entries = {
        name: (_FOLDER, _tree(below)) if isinstance(below, dict) else (_FILE, below)
        for name, below in tree.items()
    }
    # Git sorts a folder as if its name ended with a slash.
    order = sorted(entries, key=lambda name: name + b"/" * (entries[name][0] == _FOLDER))
    data = b"".join(b"%s %s\0%s" % (entries[name][0], name, entries[name][1]) for name in order)
    return _hash(b"tree", data)


def _hash(kind: bytes, data: bytes) -> bytes:
    header = b"%s %d\0" % (kind, len(data))
    return hashlib.sha1(header + data, usedforsecurity=False).digest()[:_SHA1]
