"""``lend``, ``loans`` and ``recall``: quota that queues give each other for a time."""

import time
from typing import Annotated, Any

import typer

from fairway.faces.cli.apply import print_applied
from fairway.faces.cli.common import AsJson, DataDir, connect, put_json
from fairway.faces.cli.tables import memory, number, put, to_the_minute

Gpus = Annotated[str, typer.Option("--gpus", help="How many GPUs, like 4 or 0.5.")]
Cpu = Annotated[str, typer.Option("--cpu", help="How many CPUs, like 16 or 500m.")]
Memory = Annotated[str, typer.Option("--memory", help="How much memory, like 64Gi.")]


def lend(
    lender: Annotated[str, typer.Argument(help="The queue that has less for that time.")],
    borrower: Annotated[str, typer.Argument(help="The queue that has more.")],
    ends: Annotated[str, typer.Option("--ends", help="When it is over: 2d from now, or 2026-11-21T18:00.")],
    gpus: Gpus = "",
    cpu: Cpu = "",
    memory: Memory = "",
    begins: Annotated[str, typer.Option("--begins", help="When it begins; at once if not given.")] = "",
    return_gpus: Annotated[str, typer.Option("--return-gpus", help="GPUs that the lender gets for it.")] = "",
    return_cpu: Annotated[str, typer.Option("--return-cpu", help="CPUs that the lender gets for it.")] = "",
    return_begins: Annotated[str, typer.Option("--return-begins", help="When, if not at the same time.")] = "",
    return_ends: Annotated[str, typer.Option("--return-ends", help="Until when, if not until the same time.")] = "",
    name: Annotated[str, typer.Option("--name", help="What to call the loan.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say whether it could be.")] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Give quota of one queue to another for a time; with a return it is a trade, of which all holds, or nothing."""
    amount = {"gpus": gpus, "cpu": cpu, "memory": memory}
    document: dict[str, Any] = {
        "kind": "Loan",
        "name": name or f"loan-{int(time.time() * 1000):x}",
        "lender": lender,
        "borrower": borrower,
        "amount": _given(amount),
        "ends": ends,
        **_given({"begins": begins}),
    }
    back = _given({"gpus": return_gpus, "cpu": return_cpu})
    if back:
        document["in_return"] = {"amount": back, **_given({"begins": return_begins, "ends": return_ends})}
    with connect(data_dir) as client:
        applied = client.apply([document], source="loan", dry_run=dry_run)
    if json:
        put_json(applied)
    else:
        print_applied(applied[0], dry_run)


def _given(options: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in options.items() if value}


def loans(json: AsJson = False, data_dir: DataDir = None) -> None:
    """List loans: who lends what to whom, from when until when."""
    with connect(data_dir) as client:
        found = client.loans()
    if json:
        put_json(found)
        return
    rows = [
        (
            loan["id"] if not index else "",
            loan["phase"] if not index else "",
            part["lender"],
            part["borrower"],
            _amount(part["amount"]),
            to_the_minute(part["begins_ms"]),
            to_the_minute(part["ends_ms"]),
            loan["why"] if not index else "",
        )
        for loan in found
        for index, part in enumerate(loan["parts"])
    ]
    put(("LOAN", "STATE", "LENDER", "BORROWER", "AMOUNT", "BEGINS", "ENDS", "WHY"), rows, "no loans")


def _amount(amount: dict[str, Any]) -> str:
    parts = [
        f"{number(amount['gpus'])} GPUs" if amount["gpus"] else "",
        f"{number(amount['cpu'])} CPUs" if amount["cpu"] else "",
        memory(amount["memory_mib"]) if amount["memory_mib"] else "",
    ]
    return " ".join(filter(None, parts))


def recall(
    names: Annotated[list[str], typer.Argument(metavar="LOAN...", help="Names of loans.")],
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """End loans early: both sides of a trade."""
    with connect(data_dir) as client:
        for name in names:
            client.end_loan(name)
            if not json:
                print(f"loan {name} is over")
    if json:
        put_json({"ended": names})
