"""Loans are checked before they are accepted, with what was agreed on a moment ago; and shown."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairway.faces.api import shapes
from fairway.faces.api.intake import Wish
from fairway.faces.manifests.complaints import InvalidManifest
from fairway.faces.manifests.read import manifests_from
from fairway.model.errors import Conflict, NotFound
from tests.faces.api.test_intake import Desk, refused


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


ADS = {"kind": "Queue", "name": "ads", "quota": {"gpus": 4}}
LAB = {"kind": "Queue", "name": "lab", "quota": {"gpus": 2}, "borrow": {"gpus": 0}}
LOAN: dict[str, Any] = {
    "kind": "Loan", "name": "night", "lender": "ads", "borrower": "lab", "amount": {"gpus": 3}, "ends": "2h",
}  # fmt: skip


def test_loans_are_checked_agreed_on_and_shown(desk: Desk) -> None:
    assert [each.action for each in desk.apply(ADS, LAB, LOAN, dry_run=True)] == ["created", "created", "agreed"]
    desk.apply(ADS, LAB)
    desk.read_inbox()
    trade = {**LOAN, "in_return": {"amount": {"gpus": 1}, "begins": "2h", "ends": "3h"}}
    [applied] = desk.apply(trade)
    assert (applied.kind, applied.id, applied.action) == ("Loan", "night", "agreed")
    desk.read_inbox()
    [agreed] = desk.model.loans()
    shown = shapes.loan(agreed, desk.now)
    assert (shown["phase"], shown["by"], len(shown["parts"])) == ("standing", "ada", 2)
    lender, borrower = (shapes.queue(desk.present.queue(name), desk.now) for name in ("ads", "lab"))  # type: ignore[arg-type]
    assert [each["guaranteed"]["gpus"] for each in (lender, borrower)] == [1, 5]
    assert [each["quota"]["gpus"] for each in (lender, borrower)] == [4, 2]
    assert borrower["limit"]["gpus"] == 5
    assert lender["notes"][0] == "ads lends 3 GPUs to lab until 1970-01-01 02:00 UTC (loan night)"
    [unchanged] = desk.apply(LAB, dry_run=True)
    assert unchanged.action == "unchanged", "a loan changes nothing of what was declared"


def test_what_cannot_be_lent_is_refused_with_its_field(desk: Desk) -> None:
    desk.apply(ADS, LAB, LOAN)
    desk.read_inbox()
    found = refused(desk, InvalidManifest, {**LOAN, "name": "more", "amount": {"gpus": 2}, "begins": "1h"})
    assert found == [
        "documents[0].amount: ads is guaranteed 4 GPUs, and would lend 5 at once (what it borrowed does not count)"
    ]
    assert "choose another name" in refused(desk, InvalidManifest, LOAN)[0]
    assert (
        "there is no queue 'nowhere'" in refused(desk, InvalidManifest, {**LOAN, "name": "x", "lender": "nowhere"})[0]
    )
    both = {**LOAN, "name": "x", "amount": {"gpus": 1}, "in_return": {"amount": {"gpus": 9}}}
    assert refused(desk, InvalidManifest, both)[0].startswith("documents[0].in_return.amount: lab is guaranteed 2 GPUs")
    lower = refused(desk, InvalidManifest, {**ADS, "quota": {"gpus": 2}})
    assert lower[0].startswith("documents[0].quota: ads is guaranteed 2 GPUs, and would lend 3 at once")
    assert "fairway recall night" in lower[0]


def test_a_loan_is_ended_early_once(desk: Desk) -> None:
    desk.apply(ADS, LAB, LOAN)
    desk.read_inbox()
    asyncio.run(desk.intake.end_loan("night", "ada"))
    desk.read_inbox()
    assert desk.model.loans()[0].why == "ended by ada"
    assert desk.present.queue("ads").guaranteed.gpu_milli == 4000  # type: ignore[union-attr]
    with pytest.raises(Conflict, match="over already"):
        asyncio.run(desk.intake.end_loan("night", "ada"))
    with pytest.raises(NotFound, match="no loan"):
        asyncio.run(desk.intake.end_loan("day", "ada"))


def test_a_loan_waits_for_the_one_that_was_agreed_on_a_moment_ago(desk: Desk) -> None:
    desk.apply(ADS, LAB)
    desk.read_inbox()
    desk.apply(LOAN)
    # The loop has not read it: the second would be checked against what is published.
    with pytest.raises(InvalidManifest, match="would lend 5"):
        asyncio.run(_while_the_loop_reads(desk, {**LOAN, "name": "more", "amount": {"gpus": 2}}))


async def _while_the_loop_reads(desk: Desk, document: dict[str, Any]) -> None:
    waiting = asyncio.create_task(desk.intake.apply(manifests_from([document]), Wish()))
    await asyncio.sleep(0)
    desk.read_inbox()
    await waiting
