"""``simulate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairway.faces.cli.common import AsJson, interactive, put_json, read_text
from fairway.faces.cli.tables import console, put, span, styled

if TYPE_CHECKING:
    from fairway.model.policy import Policy
    from fairway.sim.report import Report
    from fairway.sim.traces.trace import Trace


def simulate(
    trace: Annotated[Path, typer.Option("--trace", "-t", help="The jobs: a recorded trace, or a table.")],
    nodes: Annotated[Path | None, typer.Option("--nodes", help="The nodes, where the format keeps them apart.")] = None,
    vc_nodes: Annotated[Path | None, typer.Option("--vc-nodes", help="The virtual clusters (philly).")] = None,
    format: Annotated[
        str, typer.Option("--format", help="openb, philly, philly-muri, table, swf; auto looks.")
    ] = "auto",
    estimates: Annotated[
        str, typer.Option("--estimates", help="What is told of run times: none, or perfect.")
    ] = "none",
    seed: Annotated[int, typer.Option("--seed", help="Of whatever is left to chance.")] = 0,
    faults: Annotated[str, typer.Option("--faults", help="none, all, or kinds: lost=0.01,node_loss=0.5.")] = "none",
    policy: Annotated[Path | None, typer.Option("--policy", help="A manifest of kind: Policy to decide by.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the run to a PNG, SVG or PDF.")] = None,
    json: AsJson = False,
) -> None:
    """Run a recorded workload through the same loop in virtual time, and report what came of it."""
    from fairway.model.errors import InvalidField
    from fairway.sim.faults import parse_faults
    from fairway.sim.simulate import simulate as run
    from fairway.sim.traces.read import read

    if estimates not in ("none", "perfect"):
        raise InvalidField("--estimates", f"{estimates!r} is neither none nor perfect")
    chance = parse_faults(faults)
    if plot is not None:
        _check_plot(plot)
    rules = read_policy(policy) if policy else None
    work = read(trace, format=format, nodes=nodes, vc_nodes=vc_nodes, estimates=estimates)
    settings: dict[str, Any] = {"policy": rules, "faults": chance or None, "seed": seed}
    report = _with_bar(work, lambda progress: run(work, **settings, progress=progress))
    if plot is not None:
        report.plot(plot)
    if json:
        put_json(report.as_dict())
    else:
        _print(report)


def read_policy(file: Path) -> "Policy":
    """The policy in a file. Raises InvalidManifest, InvalidField when there is not exactly one."""
    from fairway.faces.manifests.policy import PolicySpec, policy_of
    from fairway.faces.manifests.read import manifests_in
    from fairway.model.errors import InvalidField

    found = [each.spec for each in manifests_in(*read_text(file))]
    if len(found) != 1 or not isinstance(found[0], PolicySpec):
        raise InvalidField("--policy", f"{file} must hold one manifest, of kind: Policy")
    return policy_of(found[0])


def _check_plot(plot: Path) -> None:
    """Say what is wrong with the picture before the work is done, not after it."""
    from importlib.util import find_spec

    from fairway.model.errors import InvalidField

    if find_spec("matplotlib") is None:
        raise InvalidField("--plot", "needs matplotlib: install fairway[plots]")
    if not plot.absolute().parent.is_dir():
        raise InvalidField("--plot", f"there is no folder {plot.absolute().parent}: make it first")


def _with_bar(work: "Trace", run: Any) -> "Report":
    if not interactive():
        return run(None)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{work.name}: jobs ended", total=len(work.jobs))
        return run(
            lambda ended, now: bar.update(
                task, completed=ended, description=f"{work.name}, day {now // 86_400_000 + 1}"
            )
        )


def _print(report: "Report") -> None:
    out = console()
    title = (
        f"{report.trace} ({report.format}): {report.jobs:,} jobs on {report.nodes:,} nodes with {report.gpus:,g} GPUs"
    )
    out.print(styled(title, "bold"))
    rows = [
        ("completed", f"{report.completed:,}"),
        ("failed, cancelled, unfinished", f"{report.failed:,}, {report.cancelled:,}, {report.unfinished:,}"),
        ("wait: mean, p50, p99", _spread(report.wait_s)),
        ("completion time: mean, p50, p99", _spread(report.jct_s)),
        ("makespan", _time(report.makespan_s)),
        ("GPUs in use; of what was wanted", f"{_share(report.gpu_utilization)}; {_share(report.gpu_allocated_ratio)}"),
        ("GPU-hours; lost", f"{report.gpu_hours:,.1f}; {report.lost_gpu_hours:,.1f}"),
        ("preemptions", f"{report.preemptions:,}"),
        ("deadlines met", f"{report.deadlines_met:,} of {report.deadlines:,}"),
        ("decisions", f"{report.decisions:,}"),
        ("decision: p50, p99, max", ", ".join(f"{ms:.2f} ms" for ms in _latencies(report))),
        ("wall time", f"{report.wall_s:.1f} s"),
    ]
    put(("FIGURE", "VALUE"), rows, "")
    for line in report.notes:
        out.print(styled(f"note: {line}", "dim"))


def _latencies(report: "Report") -> tuple[float, float, float]:
    return report.decision_ms.p50, report.decision_ms.p99, report.decision_ms.max


def _spread(spread: Any) -> str:
    return ", ".join(_time(value) for value in (spread.mean, spread.p50, spread.p99))


def _time(seconds: float) -> str:
    return span(round(seconds * 1000)) if seconds else "0s"


def _share(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1%}"
