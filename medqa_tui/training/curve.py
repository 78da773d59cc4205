"""A run's learning curve: as a line of text, and as a picture where matplotlib is installed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

PNG = "loss.png"
_BLOCKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_PLAIN = "_.-=+*#@"

Points = Sequence[tuple[int, float]]


def line(points: Points, width: int = 60, *, unicode: bool = True) -> str:
    """Return the losses as one line of blocks, the highest a full one.

    What is no number, as after a run that went wrong, is left out.
    """
    values = [loss for _, loss in points if math.isfinite(loss)]
    if not values:
        return ""
    width = min(width, len(values))
    shares = [
        values[len(values) * at // width : len(values) * (at + 1) // width] for at in range(width)
    ]
    means = [sum(share) / len(share) for share in shares]
    low, high = min(means), max(means)
    marks = _BLOCKS if unicode else _PLAIN
    top = len(marks) - 1
    return "".join(marks[round((mean - low) / (high - low or 1) * top)] for mean in means)


def write_png(losses: Points, validation: Points, path: Path) -> bool:
    """Draw the curve into `path`; return whether matplotlib is there to do so."""
    if find_spec("matplotlib") is None:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for points, label in ((losses, "training"), (validation, "validation")):
        if points:
            axes.plot(*zip(*points, strict=True), label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("loss of an answer's token")
    if losses or validation:
        axes.legend()
    figure.savefig(path, dpi=120)
    return True
