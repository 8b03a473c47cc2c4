"""A simulated run in three pictures: what was held of what there was, who waited, and how long jobs waited."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairway.model.errors import InvalidField

if TYPE_CHECKING:
    from fairway.sim.recorder import Series
    from fairway.sim.report import Report

Floats = NDArray[np.float64]

_POINTS = 4000
_HOUR = 3_600_000


def draw(report: "Report", path: Path) -> None:
    """Write the pictures to ``path``. Raises InvalidField without matplotlib, or for an ending it does not know."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InvalidField("plot", "needs matplotlib: install fairway[plots]") from None
    figure = Figure(figsize=(10, 9), layout="constrained")
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in known:
        raise InvalidField("plot", f"{path.name!r} must end in one of {', '.join(sorted(known))}")
    held, line, waits = figure.subplots(3, 1)
    hours, used, there, waiting = _levels(report.series)
    held.fill_between(hours, used, step="post", alpha=0.6, label="held")
    held.step(hours, there, where="post", color="black", linewidth=1, label="there")
    held.set(ylabel="GPUs", title=f"{report.trace}: {report.jobs:,} jobs on {report.nodes:,} nodes")
    held.legend(loc="upper right")
    line.fill_between(hours, waiting, step="post", color="tab:orange", alpha=0.6)
    line.set(ylabel="jobs in line", xlabel="hours")
    minutes = np.sort(np.frombuffer(report.waits_ms, np.int64)) / 60_000
    if len(minutes):
        waits.step(np.maximum(minutes, 1e-3), np.arange(1, len(minutes) + 1) / len(minutes), where="post")
        waits.set_xscale("log")
    waits.set(xlabel="minutes waited", ylabel="share of jobs", ylim=(0, 1.02))
    figure.savefig(path)


def _levels(series: "Series") -> tuple[Floats, Floats, Floats, Floats]:
    """Hours, GPUs held and there, jobs in line: at most ``_POINTS`` of the points, evenly taken."""
    keep = np.unique(np.linspace(0, max(len(series.at) - 1, 0), _POINTS).astype(np.int64))[: len(series.at)]
    columns = (series.at, series.held, series.there, series.waiting)
    at, held, there, waiting = (np.frombuffer(column, np.int64)[keep].astype(np.float64) for column in columns)
    return at / _HOUR, held / 1000, there / 1000, waiting
