"""Draw the pictures of docs/concepts/scheduling.md, from what the code decides and not from memory.

::

    python docs/pictures/draw.py          # all of them, beside this file
    python docs/pictures/draw.py --out folder

The stages are read from the pipeline, the line is the order in which a real decision starts its jobs, and everything
with a time axis is a run of the simulator. The same code gives the same bytes, so a test can say when a picture no
longer shows what is decided.
"""

import argparse
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fairway.decide import pipeline
from fairway.model.ids import AttemptId, ExecutorId, JobId, QueueId
from fairway.model.job import Job, PriorityClass, Role
from fairway.model.node import Node
from fairway.model.plan import Placement, Start
from fairway.model.policy import Backfill, Policy
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Amount
from fairway.model.time import HOUR, MINUTE, Duration
from fairway.sim.simulate import drive
from fairway.sim.traces import Trace
from fairway.sim.world import SimulatedWorld
from fairway.state.cluster import ClusterState
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted

HERE = Path(__file__).resolve().parent
STYLE: dict[str, Any] = {
    "svg.hashsalt": "fairway",  # ids inside the file would be random otherwise
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "path.simplify": False,
}
BLUE, ORANGE, GREEN, RED, GREY, PALE = "#3b75af", "#ef8636", "#519d3e", "#c53a32", "#7f7f7f", "#eef2f7"
COLOURS = (BLUE, ORANGE, GREEN, RED, "#8d69b8", "#84584e", "#d57dbe", GREY, "#bcbd45", "#58bbcc")


@dataclass(slots=True)
class Watch:
    """A view that notes where every attempt ran and when, and the milli-GPUs of each queue after every turn."""

    placed: dict[AttemptId, tuple[int, Placement]] = field(default_factory=dict[AttemptId, tuple[int, Placement]])
    runs: list[tuple[JobId, int, int, Placement]] = field(default_factory=list[tuple[JobId, int, int, Placement]])
    levels: list[tuple[int, dict[QueueId, int]]] = field(default_factory=list[tuple[int, dict[QueueId, int]]])

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        """Take over what has changed."""
        for decision in state.news.decisions:
            if isinstance(decision.what, Start):
                self.placed[decision.what.attempt] = (decision.at, decision.what.placement)
        for end in state.news.attempts:
            began, placement = self.placed[end.attempt]
            self.runs.append((end.attempt.job, began, end.ended, placement))
        used = {queue: int(state.queues.used[row, 2]) for queue, row in state.queues.row_of.items()}
        self.levels.append((now, used))


def watched(jobs: Sequence[Job], nodes: Sequence[Node], queues: Sequence[Queue], policy: Policy | None = None) -> Watch:
    """A run of the simulator over these jobs, watched."""
    watch = Watch()
    trace = Trace("picture", "none", tuple(nodes), tuple(queues), tuple(sorted(jobs, key=lambda job: job.submitted)))
    drive(SimulatedWorld(trace), policy or Policy(), (watch,))
    return watch


def a_run(name: str, gpus: int, minutes: float, at: float = 0, **more: Any) -> Job:
    """A job of ``gpus`` GPUs that is submitted at minute ``at``, runs for ``minutes``, which is its limit."""
    work = Duration(round(minutes * MINUTE))
    return a_job(name, a_request(gpus), submitted=round(at * MINUTE), work=work, max_runtime=work + 1, **more)


# -- the pictures -----------------------------------------------------------------------------------------------------


def stages(figure: Figure) -> None:
    """The stages of one decision, as the pipeline runs them."""
    names = [(stage.__name__.replace("_", " "), _first_sentence(stage)) for stage in pipeline.STAGES]
    figure.set_size_inches(9, 0.75 * len(names) + 0.9)
    axes = _blank(figure)
    height = len(names) + 1
    axes.set(xlim=(0, 10), ylim=(-0.2, height))
    _box(axes, 0, height - 0.75, 10, 0.6, "a snapshot of the state, and the policy", PALE)
    for index, (name, what) in enumerate(names):
        y = height - 1.75 - index
        axes.annotate("", (1.3, y + 0.62), (1.3, y + 0.98), arrowprops={"arrowstyle": "->", "color": GREY})
        _box(axes, 0, y, 2.6, 0.6, f"{index + 1}. {name}", "#dbe7f3")
        axes.text(2.8, y + 0.3, "\n".join(textwrap.wrap(what, 84)), va="center", fontsize=9)
    axes.text(10, -0.15, "a plan: actions, each with its reason", ha="right", color=GREY, fontsize=9)


def line(figure: Figure) -> None:
    """Jobs of two teams in the order in which one decision starts them, with what put each there."""
    it = Rehearsal()
    it.nodes(*(a_node(f"n{index}", 8) for index in range(2)))
    it.queues(Queue(QueueId("ads"), 2.0), Queue(QueueId("lab"), 1.0, Amount(gpu_milli=LAB_QUOTA * WHOLE)))
    jobs = _line_jobs()
    it.tell(*(submitted(job) for job in jobs))
    order = [action.attempt.job for action in it.decide().each() if isinstance(action, Start)]
    by_name = {job.id: job for job in jobs}
    figure.set_size_inches(9, 0.34 * len(order) + 0.6)
    axes = _blank(figure)
    axes.set(xlim=(0, 10), ylim=(-0.2, len(order) + 1))
    columns = (
        (0.1, "turn"), (0.8, "job"), (2.6, "class"), (4.2, "submitted"), (5.6, "team's GPUs / weight"),
        (7.9, "because"),
    )  # fmt: skip
    for x, head in columns:
        axes.text(x, len(order) + 0.4, head, weight="bold", va="center")
    used = {"ads": 0, "lab": 0}
    weight = {"ads": 2.0, "lab": 1.0}
    for index, name in enumerate(order):
        job, y, team = by_name[name], len(order) - index - 0.5, str(by_name[name].queue)
        if index % 2 == 0:
            _box(axes, 0, y - 0.5, 10, 1, "", PALE)
        covered = team == "lab" and used["lab"] < LAB_QUOTA
        why = "critical" if job.priority.cls == 0 else "within its quota" if covered else "its team's turn"
        share = f"{used[team]} / {weight[team]:g} = {used[team] / weight[team]:g}"
        cells = (
            f"{index + 1}",
            f"{team}/{job.name}",
            str(job.priority),
            f"minute {job.submitted // MINUTE}",
            share,
            why,
        )
        for (x, _), cell in zip(columns, cells, strict=True):
            axes.text(x, y, cell, va="center")
        used[team] += 1


LAB_QUOTA = 2
"""GPUs that the second team is guaranteed; the first borrows whatever it uses."""


def _line_jobs() -> list[Job]:
    critical, high, low = PriorityClass.CRITICAL, PriorityClass.HIGH, PriorityClass.LOW
    names = [("ads", f"tune-{index}", PriorityClass.MEDIUM) for index in range(4)]
    names += [("ads", "report", high), ("lab", "nightly", low)]
    names += [("lab", f"train-{index}", PriorityClass.MEDIUM) for index in range(4)]
    names += [("ads", "outage", critical)]
    return [
        a_job(name, a_request(1), queue=queue, cls=cls, submitted=index * MINUTE)
        for index, (queue, name, cls) in enumerate(names)
    ]


def packing(figure: Figure) -> None:
    """The same line on the same nodes: first come to the first node that fits, and as it is decided."""
    figure.set_size_inches(9, 2.8)
    figure.set_layout_engine("constrained")
    nodes = [a_node(f"n{index}", 8) for index in range(4)]
    rng = Random(3)
    wishes = [rng.choice((0.5, 0.5, 1, 1, 2, 2, 4)) for _ in range(13)]
    jobs = [a_job(f"j{index}", a_request(gpus)) for index, gpus in enumerate(wishes)]
    jobs.append(a_job("large", Role(count=1, request=a_request(8))))
    it = Rehearsal()
    it.nodes(*nodes)
    it.tell(*(submitted(job) for job in jobs))
    started = [action for action in it.decide().each() if isinstance(action, Start)]
    decided = [(str(s.attempt.job), str(t.node), t.devices, t.gpu_milli) for s in started for t in s.placement]
    left, right = figure.subplots(1, 2)
    for axes, title, tasks in ((left, "each to the emptiest node", _emptiest(jobs)), (right, "as decided", decided)):
        _fleet(axes, tasks, [str(node.id) for node in nodes])
        names = {name for name, *_ in tasks}
        axes.set_title(f"{title}: {len(names)} of {len(jobs)} start", fontsize=10)
    figure.supxlabel("a column is a device; the hatched job needs eight idle ones on one node", fontsize=9, color=GREY)


_Task = tuple[str, str, tuple[int, ...], int]


def _emptiest(jobs: Sequence[Job], nodes: int = 4, gpus: int = 8) -> list[_Task]:
    """Where load balancing would put them: every job on the node with most GPUs free."""
    free = [[WHOLE] * gpus for _ in range(nodes)]
    tasks: list[_Task] = []
    for job in jobs:
        request = job.roles[0].request
        need = request.gpu_milli
        for node in sorted(range(nodes), key=lambda row: -sum(free[row])):
            able = [d for d in range(gpus) if free[node][d] >= need and (request.fractional or free[node][d] == WHOLE)]
            if len(able) >= request.gpus:
                devices = tuple(able[: request.gpus])
                for device in devices:
                    free[node][device] -= need
                tasks.append((job.name, f"n{node}", devices, need))
                break
    return tasks


def _fleet(axes: Axes, tasks: Sequence[_Task], nodes: Sequence[str], gpus: int = 8) -> None:
    """Devices as columns of a row for each node, filled from below."""
    filled: dict[tuple[str, int], float] = {}
    for name, node, devices, milli in tasks:
        colour = COLOURS[int(name[1:]) % len(COLOURS)] if name[1:].isdigit() else "white"
        for device in devices:
            base = filled.get((node, device), 0.0)
            filled[node, device] = base + milli / WHOLE
            y = len(nodes) - 1 - nodes.index(node) + 0.85 * base
            axes.add_patch(_rectangle((device + 0.05, y), 0.9, 0.85 * milli / WHOLE, colour, name == "large"))
    for index, node in enumerate(nodes):
        y = len(nodes) - 1 - index
        axes.text(-0.2, y + 0.4, node, ha="right", va="center")
        for device in range(gpus):
            axes.add_patch(_rectangle((device + 0.05, y), 0.9, 0.85, "none"))
    axes.set(xlim=(-1, gpus), ylim=(-0.1, len(nodes)))
    axes.axis("off")


def backfill(figure: Figure) -> None:
    """A node of eight GPUs and a job that needs all of them: without a reservation, and with one."""
    figure.set_size_inches(9, 4.6)
    figure.set_layout_engine("constrained")
    jobs = [
        a_run("a", 4, 60), a_run("b", 2, 30), a_run("large", 8, 40, at=5), a_run("short", 2, 20, at=10),
        a_run("long", 2, 120, at=15), a_run("later", 2, 25, at=20),
    ]  # fmt: skip
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, title, mode in (
        (above, "nothing is kept", "none"),
        (below, "room is kept for a job that is passed", "easy"),
    ):
        policy = Policy(backfill=Backfill(mode=mode, after=Duration(0)))
        watch = watched(jobs, [a_node("n0", 8, executor=ExecutorId("sim"))], (), policy)
        for index, job in enumerate(jobs):
            _bars(axes, watch, job, COLOURS[index])
        axes.set(ylim=(0, 8), ylabel="devices", yticks=[])
        axes.set_title(title, fontsize=10)
    below.set(xlim=(0, 190), xlabel="minutes; in brackets the minute of a job's submission")


def _bars(axes: Axes, watch: Watch, job: Job, colour: str) -> None:
    for name, began, ended, placement in watch.runs:
        devices = sorted(device for task in placement for device in task.devices)
        if name == job.id:
            for device in devices:
                at, length = began / MINUTE, (ended - began) / MINUTE
                axes.add_patch(_rectangle((at, 7 - device + 0.05), length, 0.9, colour))
            label = f"{name} ({job.submitted // MINUTE})"
            axes.text(began / MINUTE + 1, 7.45 - devices[0], label, va="center", color="white", fontsize=8)


def fairness(figure: Figure) -> None:
    """GPUs of three queues over a day: weights 2, 1, 1, one of them busy only at times."""
    figure.set_size_inches(9, 3.2)
    figure.set_layout_engine("constrained")
    weights = (("research", 2.0), ("product", 1.0), ("platform", 1.0))
    rng, jobs = Random(7), list[Job]()
    for name, _ in weights:
        for index in range(120):
            busy = (0, 24) if name != "product" else rng.choice(((3, 7), (13, 18)))
            at, gpus = 60 * rng.uniform(*busy), rng.choice((1, 1, 2, 4))
            jobs.append(a_run(f"{name[:4]}-{index}", gpus, rng.uniform(30, 240), at, queue=name))
    nodes = [a_node(f"n{index}", 8, executor=ExecutorId("sim")) for index in range(4)]
    queues = [Queue(QueueId(name), weight, Amount(gpu_milli=round(weight * 8) * WHOLE)) for name, weight in weights]
    watch = watched(jobs, nodes, queues)
    axes = figure.subplots()
    grid, levels = [minute * MINUTE for minute in range(0, 26 * 60, 6)], list[dict[QueueId, int]]()
    for at in grid:
        levels.append(max((level for level in watch.levels if level[0] <= at), key=lambda level: level[0])[1])
    stacked = [[used.get(QueueId(name), 0) / WHOLE for used in levels] for name, _ in weights]
    labels = [f"{name} (weight {weight:g})" for name, weight in weights]
    axes.stackplot([at / HOUR for at in grid], stacked, labels=labels, colors=COLOURS, step="post", alpha=0.85)
    for level in (16, 24):
        axes.axhline(level, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 26), ylim=(0, 32), xlabel="hours", ylabel="GPUs held", yticks=range(0, 33, 8))
    axes.legend(loc="lower center", ncols=3, fontsize=8)


PICTURES: dict[str, Callable[[Figure], None]] = {
    "stages": stages,
    "line": line,
    "packing": packing,
    "backfill": backfill,
    "fairness": fairness,
}


# -- how they are drawn -----------------------------------------------------------------------------------------------


def _first_sentence(stage: Callable[..., Any]) -> str:
    return (
        (inspect.getdoc(stage) or "").split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".").replace("``", "")
    )


def _blank(figure: Figure) -> Axes:
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    axes.axis("off")
    return axes


def _rectangle(at: tuple[float, float], width: float, height: float, colour: str, hatched: bool = False) -> Any:
    from matplotlib.patches import Rectangle

    edge, hatch = GREY if colour in ("none", "white") else "white", "////" if hatched else None
    return Rectangle(at, width, height, facecolor=colour, edgecolor=edge, linewidth=0.6, hatch=hatch)


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="none"))
    axes.text(x + 0.12, y + height / 2, text, va="center")


def draw(out: Path) -> list[Path]:
    """Draw every picture into a folder; returns the files."""
    files: list[Path] = []
    with mpl.rc_context(STYLE):
        for name, paint in PICTURES.items():
            figure = Figure()
            paint(figure)
            files.append(out / f"{name}.svg")
            figure.savefig(files[-1], metadata={"Date": None, "Creator": "docs/pictures/draw.py"})
    return files


def main() -> None:
    """Draw, and say which files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE, help="the folder to draw into")
    for path in draw(parser.parse_args().out):
        print(path.name)


if __name__ == "__main__":
    main()
