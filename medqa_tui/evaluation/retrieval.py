"""How good a ranking is, how sure that is, and whether one is better than another.

The measures are those of trec_eval, through ir-measures (MacAvaney, Macdonald and Ounis, ECIR
2022). Intervals are by the percentile bootstrap over queries (Efron, 1979; Sakai, SIGIR 2006), the
paired test by randomisation (Smucker, Allan and Carterette, CIKM 2007).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medqa_tui.errors import MedQAError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medqa_tui.evaluation.trec import Qrels, Run

RESAMPLES = 10_000
_SEED = 0
_BLOCK = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One run less another: the mean difference, its interval, and how likely chance gives it."""

    difference: Interval
    p: float


@dataclass(frozen=True, slots=True)
class Measured:
    """The value of each measure for each query, in the order of `queries`."""

    queries: tuple[str, ...]
    values: Mapping[str, tuple[float, ...]]

    def intervals(self) -> dict[str, Interval]:
        """Return each measure's mean over the queries, with its interval."""
        return {name: bootstrap(values) for name, values in self.values.items()}


def measures(depth: int) -> tuple[str, ...]:
    """Return the names of the measures at a cutoff, as trec_eval's users write them."""
    return (f"nDCG@{depth}", f"RR@{depth}", "AP", f"R@{depth}", "R@100", f"Judged@{depth}")


def evaluate(qrels: Qrels, run: Run, depth: int = 10) -> Measured:
    """Measure `run` on every query of `qrels`; one that the run leaves out counts 0.

    Args:
        qrels: Gains; above 0 is relevant.

    Raises:
        MedQAError: ir-measures is not installed.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise MedQAError(
            "The measuring library is not installed.",
            "The command needs ir-measures.",
            'Type: pip install "medqa-tui[eval]"',
        ) from error
    queries = tuple(sorted(qrels))
    # ir-measures divides by the length of what was found.
    kept = {query: run[query] for query in queries if run.get(query)}
    # trec_eval has no cutoff for the reciprocal rank: the run is cut instead.
    cut = {query: _head(scored, depth) for query, scored in kept.items()}
    values: dict[str, tuple[float, ...]] = {}
    for name in measures(depth):
        reciprocal = name.startswith("RR@")
        measure = ir_measures.parse_measure("RR" if reciprocal else name)
        found = {
            value.query_id: value.value
            for value in ir_measures.iter_calc([measure], qrels, cut if reciprocal else kept)
        }
        values[name] = tuple(float(found.get(query, 0.0)) for query in queries)
    return Measured(queries, values)


def _head(scored: Mapping[str, float], depth: int) -> dict[str, float]:
    # Ties as trec_eval breaks them: the later name first.
    best = sorted(scored.items(), key=lambda item: (item[1], item[0]), reverse=True)
    return dict(best[:depth])


def bootstrap(values: tuple[float, ...] | NDArray[np.float64]) -> Interval:
    """Return the mean of `values` and its 95% interval by the percentile bootstrap."""
    import numpy as np

    sample = np.asarray(values, dtype=np.float64)
    draw = np.random.default_rng(_SEED)
    means = np.concatenate(
        [
            sample[draw.integers(0, len(sample), (_BLOCK, len(sample)))].mean(axis=1)
            for _ in range(RESAMPLES // _BLOCK)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(sample.mean()), float(low), float(high))


def compare(first: Measured, second: Measured) -> dict[str, Comparison]:
    """Return `second` less `first`, measure by measure, over the same queries."""
    import numpy as np

    found: dict[str, Comparison] = {}
    for name, values in first.values.items():
        difference = np.asarray(second.values[name]) - np.asarray(values)
        draw = np.random.default_rng(_SEED)
        seen = abs(difference.mean())
        extreme = 0
        for _ in range(RESAMPLES // _BLOCK):
            signs = draw.choice((-1.0, 1.0), (_BLOCK, len(difference)))
            # A hair of slack: sums in another order differ in their last bits.
            extreme += int((abs((signs * difference).mean(axis=1)) >= seen - 1e-12).sum())
        found[name] = Comparison(bootstrap(difference), (extreme + 1) / (RESAMPLES + 1))
    return found
