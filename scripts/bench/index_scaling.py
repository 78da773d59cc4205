"""How an index of vectors grows: build time, memory, speed and recall at 10k, 100k and 1M.

The vectors are made up: points around cluster centres, which themselves gather in groups, since
passages about one disease lie together and diseases of one organ near each other. Recall@10 is
against a search of every vector. Each size and form is measured in a process of its own, so that
its memory is its own. A million takes long; name it with --sizes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _common import home, installed, machine, megabytes, note, parser, report, resident, table

from medqa_tui.offline import go_offline
from medqa_tui.retrieval import dense
from medqa_tui.retrieval.embedder import Embedder
from medqa_tui.retrieval.manifest import GRAPH_FILES, VECTORS_FILE, IndexManifest, Storage

DIMENSION = 384
STORAGES: tuple[Storage, ...] = ("float32", "int8")
_BLOCK = 20_000
_QUERIES = 500
_K = 10
_BAR = 40


def made(count: int, seed: int) -> np.ndarray:
    """Return `count` unit vectors in clusters of some 20, float32 (count, 384)."""
    draw = np.random.default_rng(7)
    groups = draw.standard_normal((64, DIMENSION)).astype(np.float32)
    centres = draw.standard_normal((max(64, count // 20), DIMENSION)).astype(np.float32)
    centres = 0.8 * centres + groups[draw.integers(0, len(groups), len(centres))]
    draw = np.random.default_rng(seed)
    vectors = np.empty((count, DIMENSION), dtype=np.float32)
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        near = centres[draw.integers(0, len(centres), size)]
        block = near + 0.6 * draw.standard_normal((size, DIMENSION)).astype(np.float32)
        vectors[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def queries(vectors: np.ndarray) -> np.ndarray:
    """Return questions near some of the vectors, float32 (n, 384)."""
    draw = np.random.default_rng(11)
    chosen = vectors[draw.integers(0, len(vectors), _QUERIES)]
    noise = draw.standard_normal(chosen.shape).astype(np.float32)
    near = chosen + noise / np.sqrt(DIMENSION)
    return np.asarray(near / np.linalg.norm(near, axis=1, keepdims=True), dtype=np.float32)


def child(folder: Path, storage: Storage) -> dict[str, Any]:
    """Search the index in `folder` as the program does, and say what it took."""
    asked = np.load(folder / "queries.npy")
    right = np.load(folder / "right.npy")
    name = "vectors.npy" if storage == "float32" else "halved.npy"
    before = resident()
    vectors = np.load(folder / name, mmap_mode="r")
    graph = dense.load_graph(folder, storage, *vectors.shape)
    owners = np.arange(len(vectors), dtype=np.int32)
    index = dense.DenseIndex(vectors, owners, graph)
    for query in asked[:50]:
        index.search(query, _K)
    taken, worked, hits = [], [], 0
    for query, wanted in zip(asked, right, strict=True):
        began, cpu = time.perf_counter(), time.thread_time()
        found = index.search(query, _K)
        taken.append(time.perf_counter() - began)
        worked.append(time.thread_time() - cpu)
        hits += len({row for row, _ in found} & set(wanted.tolist()))
    p50, p95 = np.percentile(taken, [50, 95]) * 1000
    return {
        "resident": resident() - before,
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        "p95_cpu_ms": float(np.percentile(worked, 95)) * 1000,
        "recall": hits / right.size,
    }


def real(questions: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of the installed index, and those of questions, one a line."""
    home()
    go_offline()
    paths, active = installed()
    folder = active.index_dir(paths)
    root = IndexManifest.read(folder).folder(folder)
    embedder = Embedder.load(active.embedder_dir(paths))
    lines = questions.read_text(encoding="utf-8").splitlines()
    asked = np.stack([embedder.encode_query(line) for line in lines if line.strip()])
    return np.load(root / VECTORS_FILE).astype(np.float32), asked


def measure(
    vectors: np.ndarray, asked: np.ndarray, folder: Path, storages: Sequence[Storage]
) -> list[dict[str, Any]]:
    """Return the figures of each way to keep `vectors`."""
    count = len(vectors)
    right = [[row for row, _ in dense.exact_search(vectors, query, _K)] for query in asked]
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "halved.npy", vectors.astype(np.float16))
    np.save(folder / "queries.npy", asked)
    np.save(folder / "right.npy", np.asarray(right))
    found = []
    for storage in storages:
        began = time.perf_counter()
        parameters, reason = dense.build_graph(vectors, folder, storage)
        built = time.perf_counter() - began
        if parameters is None:
            note(f"{storage}: {reason}")
            continue
        kept = "vectors.npy" if storage == "float32" else "halved.npy"
        graph = (folder / GRAPH_FILES[storage]).stat().st_size
        disk = graph + (folder / kept).stat().st_size
        done = subprocess.run(
            [sys.executable, __file__, "--child", str(folder), storage],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        row = {
            "vectors": count,
            "storage": storage,
            "build_s": built,
            "graph_bytes": graph / count,
            "disk_bytes": disk / count,
            **json.loads(done.stdout),
        }
        note(f"{count} vectors, {storage}: {row}")
        found.append(row)
        (folder / GRAPH_FILES[storage]).unlink()
    return found


def chart(rows: list[dict[str, Any]]) -> str:
    """Return bars of the graph's bytes a passage and of the p95, a row each."""
    lines = []
    for key, name, form in (
        ("graph_bytes", "bytes a passage", ".0f"),
        ("p95_cpu_ms", "p95, CPU ms", ".2f"),
    ):
        most = max(row[key] for row in rows)
        lines.append(name)
        for row in rows:
            bar = "#" * max(1, round(_BAR * row[key] / most))
            lines.append(f"{row['vectors']:>9,} {row['storage']:<8} {bar} {row[key]:{form}}")
    return "```\n" + "\n".join(lines) + "\n```"


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(Path(sys.argv[2]), sys.argv[3])))  # type: ignore[arg-type]
        return
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="*", default=[10_000, 50_000, 100_000])
    options.add_argument("--kept-as", nargs="+", choices=STORAGES, default=STORAGES)
    options.add_argument("--questions", type=Path, help="ask these of the installed index")
    chosen = options.parse_args()
    rows: list[dict[str, Any]] = []
    for count in chosen.sizes:
        vectors = made(count, seed=count)
        with tempfile.TemporaryDirectory(prefix="medqa-bench-") as name:
            rows += measure(vectors, queries(vectors), Path(name), chosen.kept_as)
    if chosen.questions:
        with tempfile.TemporaryDirectory(prefix="medqa-bench-") as name:
            found = measure(*real(chosen.questions), Path(name), chosen.kept_as)
        rows += [{**row, "installed": True} for row in found]
    figures = table(
        [
            *("vectors", "kept as", "build, s", "graph, bytes a passage", "on disk", "resident"),
            *("p50, ms", "p95, ms", "p95, CPU ms", "recall@10"),
        ],
        [
            [
                f"{row['vectors']:,}" + (" (installed)" if row.get("installed") else ""),
                row["storage"],
                f"{row['build_s']:.0f}",
                f"{row['graph_bytes']:.0f}",
                f"{row['disk_bytes']:.0f}",
                megabytes(row["resident"]),
                f"{row['p50_ms']:.2f}",
                f"{row['p95_ms']:.2f}",
                f"{row['p95_cpu_ms']:.2f}",
                f"{row['recall']:.4f}",
            ]
            for row in rows
        ],
    )
    about = (
        f"{DIMENSION} numbers a vector, {_QUERIES} queries, {_K} wanted; one thread searches. CPU "
        "time does not count what a busy machine makes it wait."
    )
    on = machine("hnswlib", "usearch", "numpy")
    report("Scaling of the index", on, [about, figures, chart(rows)], rows, chosen.output)


if __name__ == "__main__":
    main()
