"""The options that describe a job on the command line, and the manifest they make."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path, PurePath
from typing import Annotated, Any

import typer

NEEDS, WHERE, WHEN, HOW = "What it needs", "Where it runs", "When it runs", "How it runs"

Files = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILE...] [-- COMMAND...]", help="Files of manifests, or a command after --."),
]
Name = Annotated[str, typer.Option("--name", "-n", help="What to call it; made from the command if not given.")]
QueueName = Annotated[str, typer.Option("--queue", "-q", help="The queue to wait in.")]
Gpus = Annotated[str, typer.Option("--gpus", "-g", help="Whole GPUs, or a share of one: 0.5.", rich_help_panel=NEEDS)]
GpuMemory = Annotated[
    str, typer.Option("--gpu-memory", help="A share of one GPU by its memory: 20Gi.", rich_help_panel=NEEDS)
]
GpuType = Annotated[
    str,
    typer.Option(
        "--gpu-type", help="Types that will do, with their speeds if they differ: H100,A100=0.5.", rich_help_panel=NEEDS
    ),
]
Cpus = Annotated[
    str, typer.Option("--cpus", "-c", help="CPUs of each task: 2, 500m. 1 if not given.", rich_help_panel=NEEDS)
]
Memory = Annotated[
    str,
    typer.Option("--memory", "-m", help="Memory of each task: 64Gi. Unlimited if not given.", rich_help_panel=NEEDS),
]
Disk = Annotated[str, typer.Option("--disk", help="Disk of each task: 100Gi.", rich_help_panel=NEEDS)]
Workers = Annotated[
    str,
    typer.Option(
        "--workers", "-w", help="Tasks that start together: 4, or as many as there are of 2-4.", rich_help_panel=NEEDS
    ),
]
Node = Annotated[
    list[str] | None,
    typer.Option("--node", help="Only nodes with this label: disk=nvme, or disk for any value.", rich_help_panel=WHERE),
]
Zone = Annotated[
    list[str] | None, typer.Option("--zone", help="Only nodes of this zone, or one of several.", rich_help_panel=WHERE)
]
Tolerate = Annotated[
    list[str] | None,
    typer.Option("--tolerate", help="Also nodes with this taint: team=nlp, or team.", rich_help_panel=WHERE),
]
Spot = Annotated[bool, typer.Option("--spot", help="Spot nodes are fine too.", rich_help_panel=WHERE)]
Together = Annotated[
    str,
    typer.Option(
        "--together", help="All tasks in one node, island, rack, block, cluster, zone or region.", rich_help_panel=WHERE
    ),
]
Priority = Annotated[
    str,
    typer.Option(
        "--priority",
        "-p",
        help="critical, high, medium, low or preemptible; high+5 goes before high.",
        rich_help_panel=WHEN,
    ),
]
Deadline = Annotated[
    str,
    typer.Option("--deadline", help="When it should be done: 2h from now, or 2026-11-21T18:00.", rich_help_panel=WHEN),
]
Start = Annotated[
    str, typer.Option("--not-before", help="When it may start: 30m from now, or a time.", rich_help_panel=WHEN)
]
After = Annotated[
    list[str] | None,
    typer.Option("--after", help="A job, by id or name, that must have succeeded first.", rich_help_panel=WHEN),
]
MaxRuntime = Annotated[
    str, typer.Option("--max-runtime", help="Stop it when it has run so long: 4h.", rich_help_panel=WHEN)
]
Estimate = Annotated[
    str, typer.Option("--estimate", help="How long it will take, as far as you know: 1h.", rich_help_panel=WHEN)
]
Retries = Annotated[
    int, typer.Option("--retries", help="How often a failure of its own is tried again.", min=0, rich_help_panel=HOW)
]
Grace = Annotated[
    str, typer.Option("--grace", help="From SIGTERM to SIGKILL: 2m. 30s if not given.", rich_help_panel=HOW)
]
Checkpoints = Annotated[
    bool,
    typer.Option("--checkpoints", help="The program keeps checkpoints and goes on from them.", rich_help_panel=HOW),
]
Array = Annotated[
    int,
    typer.Option(
        "--array", "-a", help="So many jobs; {index} in the command is each one's number.", min=0, rich_help_panel=HOW
    ),
]
Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param", help="An array over values: lr=0.1,0.01 fills in {lr}. Several make a grid.", rich_help_panel=HOW
    ),
]
Env = Annotated[
    list[str] | None,
    typer.Option("--env", "-e", help="NAME=VALUE, or NAME to hand on this shell's.", rich_help_panel=HOW),
]
CleanEnv = Annotated[
    bool, typer.Option("--clean-env", help="Hand on nothing of this shell but what --env names.", rich_help_panel=HOW)
]
Workdir = Annotated[
    str, typer.Option("--workdir", help="Where it runs; the current directory if not given.", rich_help_panel=HOW)
]
Label = Annotated[list[str] | None, typer.Option("--label", help="NAME=VALUE, to find it again.", rich_help_panel=HOW)]
Force = Annotated[bool, typer.Option("--force", help="Also accept what cannot run on what there is now.")]
Token = Annotated[str, typer.Option("--token", help="Accept the same token only once, however often it is sent.")]

INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV")
"""What a command needs to be found, and to find its libraries, as it would in the shell that submits it."""

_OPTION_OF = {
    "name": "--name", "queue": "--queue", "request.gpus": "--gpus", "request.gpu_memory": "--gpu-memory",
    "request.accelerators": "--gpu-type", "request.cpu": "--cpus", "request.memory": "--memory",
    "request.disk": "--disk", "request": "--gpus", "workers": "--workers", "priority": "--priority",
    "deadline": "--deadline",
    "not_before": "--not-before", "after": "--after",
    "max_runtime": "--max-runtime", "estimate": "--estimate", "retries": "--retries",
    "grace": "--grace", "array": "--array", "env": "--env", "workdir": "--workdir", "labels": "--label",
    "where.labels": "--node", "where.zones": "--zone", "where.tolerates": "--tolerate", "where.spot": "--spot",
    "where.together": "--together", "command": "COMMAND",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Work:
    """The options as given; an empty one was not."""

    name: Name = ""
    queue: QueueName = ""
    gpus: Gpus = ""
    gpu_memory: GpuMemory = ""
    gpu_type: GpuType = ""
    cpus: Cpus = ""
    memory: Memory = ""
    disk: Disk = ""
    workers: Workers = ""
    priority: Priority = ""
    deadline: Deadline = ""
    not_before: Start = ""
    after: After = None
    max_runtime: MaxRuntime = ""
    estimate: Estimate = ""
    retries: Retries = 0
    grace: Grace = ""
    checkpoints: Checkpoints = False
    array: Array = 0
    param: Param = None
    env: Env = None
    clean_env: CleanEnv = False
    workdir: Workdir = ""
    label: Label = None
    node: Node = None
    zone: Zone = None
    tolerate: Tolerate = None
    spot: Spot = False
    together: Together = ""

    def given(self) -> list[str]:
        """The options that were given."""
        return [f"--{field.name.replace('_', '-')}" for field in fields(self) if getattr(self, field.name)]

    def manifest(self, command: list[str]) -> dict[str, Any]:
        """The document that says the same. Raises InvalidField for what is not even that."""
        request = {
            "gpus": self.gpus,
            "gpu_memory": self.gpu_memory,
            "cpu": self.cpus,
            "memory": self.memory,
            "disk": self.disk,
            "accelerators": [_accelerator(word) for word in self.gpu_type.split(",") if word],
        }
        if request["accelerators"] and not (self.gpus or self.gpu_memory):
            request["gpus"] = "1"
        document: dict[str, Any] = {
            "kind": "Job",
            "name": self.name or name_of(command),
            "queue": self.queue,
            "priority": self.priority,
            "command": command,
            "request": {name: value for name, value in request.items() if value},
            "workers": _workers(self.workers),
            "deadline": self.deadline,
            "not_before": self.not_before,
            "after": self.after,
            "max_runtime": self.max_runtime,
            "estimate": self.estimate,
            "retries": self.retries,
            "grace": self.grace,
            "checkpoints": self.checkpoints,
            "array": {"parameters": _parameters(self.param)} if self.param else self.array,
            "env": self._environment(),
            "workdir": self.workdir,
            "labels": dict(_pair(text, "--label") for text in self.label or ()),
        }
        document["where"] = self._where()
        return {name: value for name, value in document.items() if value}

    def _where(self) -> dict[str, Any]:
        labels: dict[str, list[str]] = {}
        for text in self.node or ():
            key, _, value = text.partition("=")
            labels.setdefault(key, []).append(value or "*")
        where: dict[str, Any] = {
            "labels": labels,
            "zones": self.zone,
            "tolerates": self.tolerate,
            "spot": self.spot,
            "together": self.together,
        }
        return {name: value for name, value in where.items() if value}

    def _environment(self) -> dict[str, str]:
        from fairway.model.errors import InvalidField

        inherited = () if self.clean_env else INHERITED
        env = {name: os.environ[name] for name in inherited if name in os.environ}
        for text in self.env or ():
            if "=" in text:
                name, value = _pair(text, "--env")
                env[name] = value
            elif text in os.environ:
                env[text] = os.environ[text]
            else:
                raise InvalidField("--env", f"{text} is not set in this shell: write {text}=VALUE")
        return env


def takes_work(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command's parameter ``work`` be given as the options of ``Work``, one by one in its place."""
    options = [
        Parameter(f.name, Parameter.POSITIONAL_OR_KEYWORD, default=f.default, annotation=f.type) for f in fields(Work)
    ]
    known = signature(command)

    @wraps(command)
    def called(**given: Any) -> None:
        work = Work(**{option.name: given.pop(option.name) for option in options})
        command(work=work, **given)

    parameters = [each for p in known.parameters.values() for each in (options if p.name == "work" else [p])]
    called.__dict__["__signature__"] = known.replace(parameters=parameters)
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called


def option_of(field: str) -> str:
    """The option that a field of the manifest came from; the field itself for any other."""
    path = field.removeprefix("documents[0].")
    return next((option for name, option in _OPTION_OF.items() if re.match(rf"{re.escape(name)}(\W|$)", path)), field)


def name_of(command: list[str]) -> str:
    """A name for a command: of the program, or of what an interpreter is told to run."""
    word = command[0]
    if re.fullmatch(r"(python|pypy)[\d.]*|bash|sh|zsh|perl|ruby|node|julia|Rscript|torchrun", PurePath(word).name):
        rest = command[1:]
        if "-m" in rest[:-1]:
            word = rest[rest.index("-m") + 1]
        elif not {"-c", "-e"} & set(rest):
            word = next((each for each in rest if not each.startswith("-")), word)
    plain = re.sub(r"[^a-z0-9_-]+", "-", PurePath(word).stem.lower()).strip("-_")[:40].strip("-_")
    return plain or "job"


def _workers(text: str) -> Any:
    from fairway.model.errors import InvalidField

    if not text:
        return None
    match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", text)
    if match is None:
        raise InvalidField("--workers", f"{text!r} is neither a number nor a range: write 4, or 2-4")
    return {"min": int(match[1]), "max": int(match[2])} if match[2] else int(match[1])


def _accelerator(word: str) -> Any:
    from fairway.model.errors import InvalidField

    kind, given, speed = word.partition("=")
    if not given:
        return kind
    try:
        return {"type": kind, "speed": float(speed)}
    except ValueError:
        raise InvalidField("--gpu-type", f"{speed!r} is not a speed: write {kind}=0.5") from None


def _parameters(texts: list[str]) -> dict[str, list[str]]:
    return {name: values.split(",") for name, values in (_pair(text, "--param") for text in texts)}


def _pair(text: str, option: str) -> tuple[str, str]:
    from fairway.model.errors import InvalidField

    name, given, value = text.partition("=")
    if not (name and given):
        raise InvalidField(option, f"{text!r} has no value: write NAME=VALUE")
    return name, value
