"""Forecasts tomorrow's load by a least-squares fit to its past; with ``--paths``, how sure that is, by simulation."""

import argparse

import numpy as np

from fairway import job
from fairway.faces.demo.programs import learning

DAYS, HOURS = 28, 24


def main() -> None:
    """Fit daily and weekly waves to four weeks of load, then draw ``--paths`` futures around the fit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--paths", type=int, default=60)
    parser.add_argument("--pace", type=float, default=0.05)
    asked = parser.parse_args()
    rng, pace = np.random.default_rng([learning.SEED, 5]), learning.Pace(asked.pace)
    hours = np.arange(DAYS * HOURS)
    load = (
        100 + 30 * np.sin(2 * np.pi * hours / 24) + 10 * np.sin(2 * np.pi * hours / 168) + rng.normal(0, 4, len(hours))
    )
    fit, *_ = np.linalg.lstsq(_waves(hours), load, rcond=None)
    spread = float(np.std(load - _waves(hours) @ fit))
    tomorrow = _waves(hours[-1] + 1 + np.arange(HOURS)) @ fit
    peaks: list[float] = []
    for path in range(asked.paths):
        peaks += (tomorrow + rng.normal(0, spread, (200, HOURS))).max(axis=1).tolist()
        job.report(step=path + 1, total=asked.paths)
        pace.wait()
    low, high = np.percentile(peaks, [10, 90])
    learning.write_result(asked.name, {"peak": float(tomorrow.max()), "peak_p10": float(low), "peak_p90": float(high)})
    print(f"tomorrow's peak: {tomorrow.max():.1f}, between {low:.1f} and {high:.1f}", flush=True)


def _waves(hours: np.ndarray) -> np.ndarray:
    """(H, 5): a constant, and sine and cosine of the day and the week."""
    angles = [2 * np.pi * hours / period for period in (24, 168)]
    return np.column_stack([np.ones(len(hours)), *(wave(angle) for angle in angles for wave in (np.sin, np.cos))])


if __name__ == "__main__":
    main()
