"""``ps``, ``show`` and ``explain``."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairway.faces.cli.common import AsJson, DataDir, connect, put_json
from fairway.faces.cli.tables import PHASE_STYLE, ago, clock_time, console, put, span, styled, table

if TYPE_CHECKING:
    from rich.table import Table

    from fairway.faces.client import Client

RECENT_MS = 15 * 60_000
"""``ps`` shows what ended within this time."""
WATCH_S = 1.0
RESTART_S = 60.0

COLUMNS = ("ID", "QUEUE", "PRIORITY", "PHASE", ">GPUS", "WHERE", ">WAITED", ">RAN", "PROGRESS", "REASON")


def ps(
    phase: Annotated[
        list[str] | None, typer.Option("--phase", help="Only jobs in this phase; may be repeated.")
    ] = None,
    queue: Annotated[str, typer.Option("--queue", "-q", help="Only this queue and those below it.")] = "",
    user: Annotated[str, typer.Option("--user", "-u", help="Only this user's.")] = "",
    name: Annotated[str, typer.Option("--name", help="Only jobs of this name.")] = "",
    array: Annotated[str, typer.Option("--array", help="Only this array's, like sweep-18.")] = "",
    every: Annotated[bool, typer.Option("--all", "-a", help="Also what ended long ago.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Only the newest so many; 0 for all.")] = 0,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep the table up to date until Ctrl-C.")] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List jobs: those that wait or run, and what ended in the last quarter of an hour."""
    from fairway.model.errors import InvalidField
    from fairway.model.phases import JobPhase

    for each in phase or ():
        if each not in [known.value for known in JobPhase]:
            raise InvalidField("--phase", f"{each!r} is none of {', '.join(known.value for known in JobPhase)}")
    recent = 0 if every or phase or array else RECENT_MS
    filters = {"phase": phase, "queue": queue, "user": user, "name": name, "array": array, "recent_ms": recent}
    filters["limit"] = limit
    with connect(data_dir, RESTART_S if watch else 0.0) as client:

        def look() -> list[dict[str, Any]]:
            return client.jobs(**filters)

        if watch and not json:
            _watch(look)
            return
        found = look()
        if json:
            put_json(found)
        else:
            put(COLUMNS, map(_row, found), "no jobs; submit one: fairway submit -- python train.py", flexible="REASON")


def _watch(look: Any) -> None:
    from rich.live import Live

    with Live(_table(look()), console=console(), auto_refresh=False) as live:
        try:
            while True:
                time.sleep(WATCH_S)
                live.update(_table(look()), refresh=True)
        except KeyboardInterrupt:
            return  # the way to end it


def _table(found: list[dict[str, Any]]) -> "Table":
    return table(COLUMNS, map(_row, found), flexible="REASON")


def _row(job: dict[str, Any]) -> tuple[Any, ...]:
    gpus = f"{job['gpus']:g}{' virtual' if job['virtual'] else ''}" if job["gpus"] else "-"
    ran = span(job["run_ms"]) if job["run_ms"] else "-"
    phase = styled(job["phase"], PHASE_STYLE.get(job["phase"], ""))
    where, waited = ",".join(job["nodes"]) or "-", span(job["wait_ms"])
    return job["id"], job["queue"], job["priority"], phase, gpus, where, waited, ran, progress(job), why(job)


def progress(job: dict[str, Any]) -> str:
    """``40/100``, ``40``, or nothing."""
    if job["total"]:
        return f"{job['step']}/{job['total']}"
    return str(job["step"]) if job["step"] else "-"


def why(job: dict[str, Any]) -> str:
    """Why a job waits, or how it ended."""
    if job["phase"] == "failed":
        return ending(job)
    if job["until_ms"] and job["reason"]:
        return f"{job['reason']}, again {ago(job['until_ms'], int(time.time() * 1000))}"
    return job["reason"]


def late(job: dict[str, Any]) -> str:
    """That a job can no longer meet its deadline, and by how much it will miss it."""
    behind = job.get("late_ms", 0)
    return f"can no longer meet its deadline: at least {span(behind)} late" if behind else ""


def ending(job: dict[str, Any]) -> str:
    """How a job ended, in words."""
    how = ""
    if job["signal"]:
        how = f"signal {job['signal']}"
    elif job["exit_code"]:
        how = f"exit status {job['exit_code']}"
    cause = "" if job["cause"] in (None, "failed", "succeeded") else job["cause"].replace("_", " ")
    return ": ".join(part for part in (cause, job["message"] or how) if part)


def show(
    job: Annotated[str, typer.Argument(help="A job's id, like train-17.")],
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show all there is to know about a job."""
    with connect(data_dir) as client:
        found = client.job(job)
        spec = _spec(client, job)
    if json:
        put_json({**found, "spec": spec})
        return
    now = int(time.time() * 1000)
    lines = [
        ("job", found["id"]),
        ("queue", found["queue"]),
        ("user", found["user"]),
        ("priority", found["priority"]),
        ("phase", styled(found["phase"], PHASE_STYLE.get(found["phase"], ""))),
        ("reason", why(found) or ending(found)),
        ("needs", found["request"]),
        ("tasks", found["tasks"] if found["tasks"] > 1 else ""),
        ("array", found["array"]),
        ("service", found["service"]),
        ("command", _command(spec) if spec else ""),
        ("directory", spec["workdir"] if spec else ""),
        ("submitted", _when(found["submitted_ms"], now)),
        ("deadline", _when(found["deadline_ms"], now)),
        ("", late(found)),
        ("waited", span(found["wait_ms"])),
        ("started", _when(found["started_ms"], now)),
        ("ran", span(found["run_ms"]) if found["run_ms"] else ""),
        ("ended", _when(found["ended_ms"], now)),
        ("attempt", found["attempt"] or ""),
        ("where", ", ".join(found["devices"] or found["nodes"]) + (" (virtual devices)" if found["virtual"] else "")),
        ("progress", progress(found).replace("-", "")),
        ("checkpoint", _when(found["checkpoint_ms"], now)),
        ("training", trained(found["training"]) if found.get("training") else ""),
        ("failures", found["failures"] or ""),
        ("preempted", f"{found['preemptions']} times" if found["preemptions"] else ""),
        ("GPU time", f"{found['gpu_seconds']:g} s" if found["gpu_seconds"] else ""),
        ("lost", f"{found['lost_gpu_seconds']:g} GPU-seconds" if found["lost_gpu_seconds"] else ""),
    ]
    _print_pairs(lines)


def trained(training: dict[str, Any]) -> str:
    """What is known of a job on other numbers of workers: ``batch 512 (told 512), 3400 examples/s, ...``."""
    told = f" (told {training['told_batch']})" if training["told_batch"] else ""
    parts = [
        f"batch {training['batch'] or '-'}{told}" if training["batch"] or told else "",
        f"{training['examples_per_s']:.4g} examples/s" if training["examples_per_s"] else "",
        f"noise scale {training['noise_scale']:.4g}" if training["noise_scale"] else "",
        f"speed-up {training['speedup']}",
        f"its last report was not believed: {training['refused']}" if training["refused"] else "",
    ]
    return ", ".join(part for part in parts if part)


def _spec(client: "Client", job: str) -> dict[str, Any] | None:
    """A job as submitted; None for one that ended so long ago that this is not kept."""
    from fairway.model.errors import NotFound

    try:
        return client.spec(job)
    except NotFound:
        return None


def _print_pairs(lines: list[tuple[str, Any]]) -> None:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in lines:
        if value not in ("", None):
            grid.add_row(name, value if hasattr(value, "plain") else styled(str(value), ""))
    console().print(grid)


def _command(spec: dict[str, Any]) -> str:
    import shlex

    commands = [role["command"] or spec["command"] for role in spec["roles"]]
    return "; ".join(dict.fromkeys(shlex.join(command) for command in commands))


def _when(instant: int | None, now: int) -> str:
    return f"{clock_time(instant)} ({ago(instant, now)})" if instant else ""


def explain(
    job: Annotated[str, typer.Argument(help="A job's id, like train-17.")],
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Say why a job waits, runs where it runs, or ended, with the numbers that decided it."""
    with connect(data_dir) as client:
        found = client.explain(job)
    if json:
        put_json(found)
    else:
        print_explanation(found)


def _helps(found: dict[str, Any]) -> str:
    """``fits if: 2 fewer GPUs / A100 instead of H100 / after 14:10-14:40`` in local time; empty where nothing is
    known."""
    parts, expected = list(found["fits_if"]), found["expected_ms"]
    if expected:
        first, last = (_soon(expected[key]) for key in ("p50", "p90"))
        parts.append(f"after {first}" if first == last else f"after {first}-{last.removeprefix(first[:-5])}")
    verb = "could fit if" if found["never_fits"] else "fits if"
    return f"{verb}: {' / '.join(parts)}" if parts else ""


def _soon(instant: int) -> str:
    """``14:10``; with the day where that is not today's."""
    when, today = time.localtime(instant / 1000), time.localtime()
    return time.strftime("%H:%M" if when[:3] == today[:3] else "%Y-%m-%d %H:%M", when)


def print_explanation(found: dict[str, Any]) -> None:
    """The present of a job, and its story so far."""
    status, now, out = found["job"], int(time.time() * 1000), console()
    phase = status["phase"]
    text = why(status) or ending(status)
    verb = {"succeeded": "", "failed": "", "cancelled": "was "}.get(phase, "is ")
    out.print(f"[bold]{status['id']}[/] {verb}[{PHASE_STYLE.get(phase) or 'default'}]{phase}[/]", end="")
    out.print(styled(f": {text}" if text else "", ""))
    out.print(styled(f"  needs {status['request']}, priority {status['priority']}, queue {status['queue']}", "dim"))
    for line in filter(None, (late(status), _helps(found), *found["queue_notes"])):
        out.print(styled(f"  {line}", ""))
    for line in found["story"]:
        out.print(styled(f"  {time.strftime('%H:%M:%S', time.localtime(line['at_ms'] / 1000))}", "dim"), end="  ")
        out.print(styled(line["what"], ""))
    if not found["story"]:
        out.print(styled(f"  nothing was decided yet, submitted {ago(status['submitted_ms'], now)}", "dim"))
