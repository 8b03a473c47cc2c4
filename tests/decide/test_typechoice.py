"""What type a pending job gets: both walks agree, nobody gets what it cannot use, a scarce one goes where it helps."""

from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import fit
from fairway.decide.typechoice import choosy, liking
from fairway.model.job import Role
from fairway.model.policy import Placing, Policy, TypeChoice
from fairway.state.snapshot import Trial, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted
from tests.decide.test_kernels_walk import Loads, loads, outcome, rehearse

BY_PRICE = st.sampled_from(("max_min", "makespan"))


def policy_of(types: TypeChoice) -> Policy:
    return Policy(placement=Placing(types=types))


@given(loads, BY_PRICE, st.sampled_from((1, 3)))
def test_both_walks_choose_the_same_types(load: Loads, types: TypeChoice, count: int) -> None:
    it = rehearse(load, count)
    assert outcome(it, policy_of(types), fast=True) == outcome(it, policy_of(types), fast=False)


@given(loads, BY_PRICE)
def test_a_kind_is_liked_where_the_task_may_run_and_only_there(load: Loads, types: TypeChoice) -> None:
    it = rehearse(load)
    snap = snapshot(it.state)
    rows = snap.jobs.in_line[: snap.jobs.height].nonzero()[0]
    shapes = snap.groups.shape[snap.jobs.group[rows]]
    kinds = tuple(snap.nodes.kinds)
    found = liking(snap, Trial(snap), policy_of(types), rows, shapes)
    for request, likes in found.items():
        assert choosy(request, kinds)
        assert ((likes > 0) == (fit.speed_by_kind(request, kinds) > 0)).all()
    assert not liking(snap, Trial(snap), policy_of("fastest"), rows, shapes)


@given(loads, BY_PRICE)
def test_as_many_find_room_where_every_job_accepts_every_type(load: Loads, types: TypeChoice) -> None:
    """Of one size, whoever comes first and whatever it likes, the same number of jobs starts."""
    its_nodes, _, jobs, limit = load
    requests = [a_request(1, types=(("H100", 1.0), ("A100", speed), ("V100", 0.1))) for speed in (0.9, 0.3)]
    plain = outcome(rehearse((its_nodes, requests, jobs, limit)), fast=False)
    priced = outcome(rehearse((its_nodes, requests, jobs, limit)), policy_of(types), fast=False)
    assert len(priced[0]) == len(plain[0])


def cluster(types: TypeChoice, *jobs: tuple[str, Role, int]) -> Rehearsal:
    it = Rehearsal(policy=policy_of(types))
    it.nodes(a_node("h", 8, "H100"), a_node("a", 8, "A100"))
    for name, role, hours in jobs:
        it.tell(submitted(a_job(name, role, estimate=hours * 3_600_000)))
    it.decide()
    return it


def wants(speed: float, gpus: int = 8) -> Role:
    return Role(request=a_request(gpus, types=("H100", ("A100", speed))))


def test_a_scarce_type_goes_to_whom_it_speeds_up_most() -> None:
    it = cluster("max_min", ("a", wants(0.9), 1), ("b", wants(0.2), 1))
    assert (it.where("a"), it.where("b")) == (("a",), ("h",))
    it = cluster("fastest", ("a", wants(0.9), 1), ("b", wants(0.2), 1))
    assert (it.where("a"), it.where("b")) == (("h",), ("a",))


def test_for_the_makespan_the_long_work_gets_what_it_needs() -> None:
    """Though the short job gains more from the fast type, the long one must not be on the slow one."""
    for first, second in ((("long", 0.6, 100), ("short", 0.5, 1)), (("short", 0.5, 1), ("long", 0.6, 100))):
        jobs = [(name, wants(speed), hours) for name, speed, hours in (first, second)]
        it = cluster("makespan", *jobs)
        assert (it.where("long"), it.where("short")) == (("h",), ("a",))
        it = cluster("max_min", *jobs)
        assert (it.where("long"), it.where("short")) == (("a",), ("h",))


def test_where_nobody_competes_everybody_has_the_fastest() -> None:
    it = cluster("max_min", ("a", wants(0.9, 4), 1), ("b", wants(0.2, 4), 1))
    assert (it.where("a"), it.where("b")) == (("h",), ("h",))
