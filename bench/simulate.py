"""How many jobs a second the simulated world runs through the one loop, and in how much memory.

::

    python -m bench.simulate --trace philly.csv --vc-nodes vc_nodes.csv --json
    python -m bench.simulate --jobs 20000 --nodes-generated 64 --json

``wall_s`` is the run alone, without reading the trace (``load_s``), and ``cpu_s`` the processor's share of it, which
neighbours on the machine do not count in; ``rss_mib`` is the most memory the process ever held. ``share`` says where
the time went, by floor, from a second run of at most ``--profile`` jobs under a profiler: each function's own time,
numpy's and the interpreter's built-ins with whoever called them.
"""

import argparse
import cProfile
import json
import pstats
import resource
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from bench import traces
from fairway.model.errors import FairwayError
from fairway.sim.simulate import simulate
from fairway.sim.traces import Trace

SMALL = ("--jobs", "2000", "--profile", "1000")
"""Arguments for a quick look, without a recorded trace."""

FLOORS = ("model", "state", "decide", "engine", "sim")


def measure(trace: Trace, seed: int) -> dict[str, Any]:
    """One run: jobs a second, and how long decisions took."""
    began = process_time()
    report = simulate(trace, seed=seed)
    cpu_s = process_time() - began
    # Linux counts in KiB, macOS in bytes.
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return {
        "jobs_per_s": round(report.jobs / report.wall_s, 1),
        "wall_s": report.wall_s,
        "cpu_s": round(cpu_s, 3),
        "rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1),
        "jobs": report.jobs,
        "completed": report.completed,
        "decisions": report.decisions,
        "decision_ms": report.as_dict()["decision_ms"],
    }


def shares(trace: Trace, seed: int) -> dict[str, float]:
    """The share of the time spent on each floor."""
    profile = cProfile.Profile()
    profile.runcall(simulate, trace, seed=seed)
    spent: Counter[str] = Counter()
    for (path, _, _), (_, _, own, _, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        floor = _floor(path)
        if floor is not None:
            spent[floor] += own
        else:
            for (caller, _, _), (_, _, part, _) in callers.items():
                spent[_floor(caller) or "rest"] += part
    total = spent.total() or 1.0
    return {floor: round(spent[floor] / total, 3) for floor in (*FLOORS, "rest")}


def _floor(path: str) -> str | None:
    parts = Path(path).parts
    if "fairway" not in parts:
        return None
    after = parts[len(parts) - parts[::-1].index("fairway") :]
    return after[0] if after and after[0] in FLOORS else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description=(__doc__ or "").splitlines()[0])
    traces.ask(parser, jobs=10_000)
    parser.add_argument("--nodes-generated", type=int, default=32, help="nodes of a generated cluster")
    parser.add_argument("--profile", type=int, default=0, help="also say where the time goes, from so many jobs")
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    options = parser.parse_args(arguments)
    try:
        began = perf_counter()
        trace = traces.load(options, options.nodes_generated)
        loaded = perf_counter() - began
        result = {**measure(trace, options.seed), "load_s": round(loaded, 3)}
        if options.profile:
            result["share"] = shares(replace(trace, jobs=trace.jobs[: options.profile]), options.seed)
    except FairwayError as error:
        print(f"bench.simulate: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(result) if options.json else "\n".join(f"{key:12} {value}" for key, value in result.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
