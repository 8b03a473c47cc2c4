"""The trace that a benchmark goes over: a recorded one, or a generated one where none is named."""

import argparse
from dataclasses import replace
from pathlib import Path

from fairway.sim.traces import Trace, generate, read


def ask(parser: argparse.ArgumentParser, jobs: int) -> None:
    """Let the command line name a trace; a generated one has so many jobs unless it says otherwise."""
    parser.add_argument("--trace", type=Path, help="a recorded trace; without one, a workload is generated")
    parser.add_argument("--nodes", type=Path, help="its nodes, where the format keeps them apart")
    parser.add_argument("--vc-nodes", type=Path, help="the nodes of its virtual clusters (philly)")
    parser.add_argument("--format", default="auto")
    parser.add_argument("--jobs", type=int, default=0, help=f"only so many jobs (generated: how many, {jobs})")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(generated=jobs)


def load(options: argparse.Namespace, nodes: int) -> Trace:
    """What was asked for; generated, on so many nodes. Raises FairwayError for what is no trace."""
    if options.trace is None:
        return generate(options.seed, nodes=nodes, jobs=options.jobs or options.generated)
    trace = read(options.trace, format=options.format, nodes=options.nodes, vc_nodes=options.vc_nodes)
    return replace(trace, jobs=trace.jobs[: options.jobs or None])
