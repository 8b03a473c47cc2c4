"""The openb packing experiment of FGD (Weng et al., USENIX ATC'23), and how Fairway's own score does in it.

Pods arrive one at a time on an empty fleet and never leave; one that fits nowhere is dropped. Reported is the share of
all GPU capacity that is allocated when the demand that has *arrived* reaches 100 % and 130 % of capacity::

    python -m bench.openb --data DIR --list default --seeds 42,43,44 --json
    python -m bench.openb --data DIR --list all

DIR holds ``openb_node_list_gpu_node.csv``, ``openb_pod_list_LIST.csv`` and ``order/openb_pod_list_LIST.SEED.txt``: the
rows of the list in order of arrival, a line ``PERM``, and the rank of each node (nodes sorted by name; ties between
nodes go to the lowest rank). FGD and Fairway know which pods the list holds, FGD by the most frequent classes that make
up 95 % of it, and nothing of the order. ``fairway_learning`` knows nothing beforehand: it counts what has arrived.

Not on the clock: compiling, and what is prepared once per list (``prepare_ms``); on it: choosing and noting the choice.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import TypedDict

import numpy as np

from fairway.decide import packing, worth
from fairway.decide.board import Board
from fairway.decide.packing import Need, Nodes, Score, Work
from fairway.model.errors import FairwayError, InvalidField, NotFound
from fairway.model.resources import WHOLE
from fairway.sim.traces.columns import Table, text_of
from fairway.sim.traces.nodes import read_nodes
from fairway.state.columns import Ints

PREFIX = "openb_pod_list_"
MARKS = (100, 130)
FIRST_LESSON = 100
"""Arrivals after which ``fairway_learning`` values nodes by what it has seen, and again at every doubling."""


Figures = dict[str, float]


class Report(TypedDict):
    """Keys of ``--json``: ``policies`` are means over the lists, ``lists`` over the seeds, ``runs`` the runs."""

    seeds: list[int]
    policies: dict[str, Figures]
    lists: dict[str, dict[str, Figures]]
    runs: dict[str, dict[str, dict[str, Figures]]]


@dataclass(frozen=True)
class Pods:
    """A pod list: each row's need, milli-GPUs, and class as the paper counts them (no memory; named types as text)."""

    needs: list[Need]
    milli: list[int]
    classes: list[tuple[tuple[int, int, int, str], Need]]


@dataclass(frozen=True)
class Case:
    """One experiment: nodes in the order of their rank, pods, and the rows of pods in order of arrival."""

    total: Ints
    count: Ints
    kind: Ints
    kinds: int
    pods: Pods
    arrivals: list[int]
    seed: int

    def fleet(self) -> worth.Fleet:
        """The sum of all nodes."""
        return worth.fleet_of(self.total, self.count, self.kind, self.kinds)


class Run:
    """A fleet that fills up: the columns that scores read, and what has arrived and been placed, in milli-GPUs."""

    def __init__(self, case: Case) -> None:
        devices = np.less(np.arange(case.count.max()), case.count[:, None]) * WHOLE
        self.nodes = Nodes(case.total.copy(), devices.astype(np.int64), case.count, case.kind)
        self.running = np.zeros((len(case.count), devices.shape[1] + 1), np.int64)
        self.arrived: list[int] = []
        self.placed: list[int] = []

    def take(self, need: Need, row: int, device: int) -> None:
        """Put a task on a node."""
        self.nodes.free[row] -= need.flats
        if device >= 0:
            self.nodes.devices[row, device] -= need.milli[self.nodes.kind[row]]
            self.running[row, 0] += 1
        elif need.gpus:
            idle = np.flatnonzero(self.nodes.devices[row] == WHOLE)[: need.gpus]
            self.nodes.devices[row, idle] = 0
            self.running[row, need.gpus] += 1

    def count(self, milli: int, placed: bool) -> None:
        """Note an arrival."""
        self.arrived.append((self.arrived[-1] if self.arrived else 0) + milli)
        self.placed.append((self.placed[-1] if self.placed else 0) + milli * placed)

    def allocation(self, percent: int) -> float:
        """Allocated share of capacity, in %, when arrived demand first reaches ``percent``, or else at the end."""
        capacity = int(self.nodes.gpus.sum()) * WHOLE
        first = int(np.searchsorted(self.arrived, percent / 100 * capacity))
        return 100 * self.placed[min(first, len(self.placed) - 1)] / capacity


Chooser = Callable[[Need], tuple[int, int] | None]


def by_board(score: Score, run: Run) -> tuple[Chooser, Callable[[int], None]]:
    """Choose by a score that depends on the nodes alone."""
    board = Board(run.nodes, score)

    def choose(need: Need) -> tuple[int, int] | None:
        choice = board.best(need)
        return None if choice is None else (choice.row, choice.device)

    return choose, board.changed


def at_random(seed: int, run: Run) -> tuple[Chooser, Callable[[int], None]]:
    """Choose anew among all nodes at every arrival."""
    rng = np.random.default_rng(seed)
    rows = np.arange(len(run.nodes.gpus))

    def choose(need: Need) -> tuple[int, int] | None:
        costs, picks = packing.random_fit(rng, run.nodes, rows, need)
        row = int(costs.argmin())
        return (row, int(picks[row])) if costs[row] < np.inf else None

    return choose, lambda row: None


def learning(case: Case, run: Run) -> tuple[Chooser, Callable[[int], None]]:
    """Best fit until there is something to learn from; then Fairway's score, for the mix of all arrivals so far."""
    seen: Counter[Need] = Counter()
    lessons = FIRST_LESSON
    board = Board(run.nodes, packing.best_fit)

    def choose(need: Need) -> tuple[int, int] | None:
        nonlocal board, lessons
        seen[need] += 1
        if seen.total() > lessons:
            lessons *= 2
            board = Board(run.nodes, _least_worth(list(seen.items()), case))
        choice = board.best(need)
        return None if choice is None else (choice.row, choice.device)

    return choose, lambda row: board.changed(row)


def _least_worth(classes: Sequence[tuple[Need, int]], case: Case) -> Score:
    table = worth.worth_of(packing.typical_work(classes, 1.0), case.fleet())
    return partial(worth.least_worth, table)


def paper_work(case: Case) -> Work:
    """Typical pods as the paper counts them: without memory, and named types told apart by their text."""
    counts = Counter(case.pods.classes)
    ordered = sorted(counts.items(), key=lambda item: item[0][0], reverse=True)
    return packing.typical_work([(need, count) for (_, need), count in ordered])


POLICIES: dict[str, Callable[[Case, Run], tuple[Chooser, Callable[[int], None]]]] = {
    "random": lambda case, run: at_random(case.seed, run),
    "dotprod": lambda case, run: by_board(packing.dot_product, run),
    "clustering": lambda case, run: by_board(partial(packing.clustering, run.running), run),
    "packing": lambda case, run: by_board(packing.gpu_packing, run),
    "bestfit": lambda case, run: by_board(packing.best_fit, run),
    "fgd": lambda case, run: by_board(partial(packing.fragmentation, paper_work(case)), run),
    "fairway": lambda case, run: by_board(_least_worth(list(Counter(case.pods.needs).items()), case), run),
    "fairway_learning": learning,
}


def measure(case: Case, policy: str) -> Figures:
    """One policy in one case: allocation at 100 and 130 %, microseconds per decision, milliseconds of preparation."""
    run = Run(case)
    began = perf_counter()
    choose, changed = POLICIES[policy](case, run)
    ready = perf_counter()
    for row in case.arrivals:
        need = case.pods.needs[row]
        chosen = choose(need)
        run.count(case.pods.milli[row], chosen is not None)
        if chosen is not None:
            run.take(need, *chosen)
            changed(chosen[0])
    spent = perf_counter() - ready
    figures = {f"at_{mark}": run.allocation(mark) for mark in MARKS}
    figures |= {"us_per_decision": spent / len(case.arrivals) * 1e6, "prepare_ms": (ready - began) * 1e3}
    return {key: round(figure, 3) for key, figure in figures.items()}


def warm_up(case: Case, policies: Sequence[str]) -> None:
    """Load or make the compiled code, so that it is not on the clock."""
    for policy in policies:
        measure(replace(case, arrivals=case.arrivals[: 2 * FIRST_LESSON]), policy)


def read_case(data: Path, name: str, seed: int) -> Case:
    """One list with one order. Raises NotFound and InvalidField."""
    nodes = sorted(read_nodes(data / "openb_node_list_gpu_node.csv"), key=lambda node: node.id)
    order, _, ranks = text_of(data / "order" / f"{PREFIX}{name}.{seed}.txt").partition("PERM")
    rank = [int(word) for word in ranks.split()]
    if sorted(rank) != list(range(len(nodes))):
        raise InvalidField("data", f"the order of {name}, seed {seed}, does not rank {len(nodes)} nodes from 0")
    nodes = [node for _, node in sorted(zip(rank, nodes, strict=True), key=lambda item: item[0])]
    types = sorted({node.gpu_type for node in nodes})
    return Case(
        total=np.array([node.flat for node in nodes], np.int64),
        count=np.array([node.gpus for node in nodes], np.int64),
        kind=np.array([types.index(node.gpu_type) for node in nodes], np.int64),
        kinds=len(types),
        pods=read_pods(data / f"{PREFIX}{name}.csv", types),
        arrivals=[int(word) for word in order.split()],
        seed=seed,
    )


def read_pods(path: Path, types: Sequence[str]) -> Pods:
    """A pod list for a fleet with these types of GPU."""
    needs: list[Need] = []
    demand: list[int] = []
    classes: list[tuple[tuple[int, int, int, str], Need]] = []
    for row in Table(path, ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")).rows():
        cpu, gpus = row.integer("cpu_milli"), row.integer("num_gpu")
        milli = row.integer("gpu_milli", most=WHOLE) if gpus else 0
        spec = row.text("gpu_spec") if gpus else ""
        accepted = [kind for kind in spec.split("|") if kind]
        by_kind = tuple(milli if not accepted or kind in accepted else packing.NO_WAY for kind in types)
        needs.append(Need((cpu, row.integer("memory_mib"), 0, 0), gpus, by_kind))
        demand.append(gpus * milli)
        classes.append(((cpu, milli, gpus, spec), Need((cpu, 0, 0, 0), gpus, by_kind)))
    return Pods(needs, demand, classes)


def lists(data: Path) -> list[str]:
    """The names of the pod lists in a folder."""
    names = sorted(path.stem.removeprefix(PREFIX) for path in data.glob(f"{PREFIX}*.csv"))
    if not names:
        raise NotFound(f"there is no {PREFIX}*.csv in {data}", "data")
    return names


def report(data: Path, names: Sequence[str], seeds: Sequence[int], policies: Sequence[str]) -> Report:
    """All figures: of every list and seed, and means."""
    warm_up(read_case(data, names[0], seeds[0]), policies)
    runs: dict[str, dict[str, dict[str, Figures]]] = {}
    for name in names:
        cases = [read_case(data, name, seed) for seed in seeds]
        runs[name] = {policy: {str(case.seed): measure(case, policy) for case in cases} for policy in policies}
    by_list = {name: {policy: mean(list(runs[name][policy].values())) for policy in policies} for name in names}
    policy_means = {policy: mean([by_list[name][policy] for name in names]) for policy in policies}
    return {"seeds": list(seeds), "policies": policy_means, "lists": by_list, "runs": runs}


def mean(figures: Sequence[Figures]) -> Figures:
    """The mean of each figure."""
    return {key: round(fmean(each[key] for each in figures), 3) for key in figures[0]}


def table(result: Report) -> str:
    """The figures of every list as text: allocation % at arrived 100 % / 130 %, and microseconds per decision."""
    policies = list(result["policies"])
    lines = ["list".ljust(14) + "".join(policy.rjust(18) for policy in policies)]
    for name, figures in {**result["lists"], "mean": result["policies"]}.items():
        cells = (f"{figures[p]['at_100']:.2f} / {figures[p]['at_130']:.2f}".rjust(18) for p in policies)
        lines.append(name.ljust(14) + "".join(cells))
    speeds = (f"{result['policies'][p]['us_per_decision']:.0f} us".rjust(18) for p in policies)
    return "\n".join([*lines, "per decision".ljust(14) + "".join(speeds)])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.openb", description="The openb packing experiment.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the node list, pod lists and orders")
    parser.add_argument("--list", default="all", help="a list's name, several joined by commas, or all")
    parser.add_argument("--seeds", default="42,43,44", help="orders to run, joined by commas")
    parser.add_argument("--policies", default=",".join(POLICIES), help=f"some of {','.join(POLICIES)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    policies = options.policies.split(",")
    if unknown := set(policies) - set(POLICIES):
        parser.error(f"no policy {sorted(unknown)[0]!r}: choose from {', '.join(POLICIES)}")
    try:
        names = lists(options.data) if options.list == "all" else options.list.split(",")
        result = report(options.data, names, [int(seed) for seed in options.seeds.split(",")], policies)
    except FairwayError as error:
        print(f"bench.openb: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(result) if options.json else table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
