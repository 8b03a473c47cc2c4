"""A small crowded cluster from a seed, run to its end by the real decision, and what must hold after every step of it.

Where ``tests/state/weather`` lets anything happen to the books, here executors are honest and time passes in order:
jobs are submitted, started, stopped and done, nodes are lost and come back. So more can be promised, and is::

    python -m tests.properties.case 10000        # so many cases; says which seed broke what
    python -m tests.properties.case 10000 --from 1000000
"""

import argparse
import sys
from collections import Counter
from random import Random

from fairway.engine.readmodel import ReadModel
from fairway.engine.status import JobStatus
from fairway.model.facts import NodeGone, Progressed, QueueSet
from fairway.model.ids import JobId, NodeId, QueueId
from fairway.model.job import Job, PriorityClass, Role
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Start, Stop
from fairway.model.policy import Policy
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Amount
from fairway.model.time import MINUTE, Duration
from fairway.state.check import check, oversubscribed
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, effects, submitted

KINDS = ("H100", "A100")
QUEUES = ("ads", "lab", "lab/vision")
MOST_ROUNDS = 60
"""Decisions between two events; each of them starts, stops or holds something, so more is a loop."""


class Broken(AssertionError):
    """A promise is broken; the message says which, and by which seed."""


class Case:
    """One cluster and its jobs. ``run`` plays it to the end. Raises Broken."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, Random(seed)
        self.it = Rehearsal(policy=Policy())
        rng = self.rng
        self.nodes = [
            a_node(f"n{index}", rng.choice((1, 2, 4, 8)), rng.choice(KINDS), cpu=rng.choice((8, 16, 64)))
            for index in range(rng.randint(1, 4))
        ]
        self.it.nodes(*self.nodes)
        for queue in QUEUES:
            quota = Amount(gpu_milli=rng.choice((0, 1, 2, 4)) * WHOLE)
            borrow = Amount(gpu_milli=rng.choice((None, None, 2, 4)) and rng.choice((2, 4)) * WHOLE)
            lend = Amount(gpu_milli=Random(f"{seed} {queue}").choice((None, None, 0, WHOLE)))
            self.it.tell(QueueSet(Queue(QueueId(queue), rng.choice((1.0, 1.0, 2.0)), quota, borrow, lend=lend)))
        self.coming = [self._job(index) for index in range(rng.randint(3, 14))]
        self.lost: list[NodeId] = []
        self.counts: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        """What happened, by name."""
        events = 0
        while True:
            self._settle()
            live = self._live()
            if not (self.coming or live or self.lost):
                break
            events += 1
            if events > 400:
                raise Broken(f"seed {self.seed}: does not come to its end")
            self._happen(live)
        self._all_accounted_for()
        return self.counts

    # -- what happens ---------------------------------------------------------------------------------------------

    def _happen(self, live: list[JobId]) -> None:
        rng, it = self.rng, self.it
        it.tell(after=rng.randint(1, 30 * MINUTE))
        draw = rng.random()
        if self.coming and (draw < 0.5 or not live):
            many = [self.coming.pop() for _ in range(min(rng.choice((1, 1, 1, 3)), len(self.coming)))]
            it.tell(*(submitted(job) for job in many))
        elif self.lost and (draw < 0.6 or not live):
            back = self.lost.pop()
            it.nodes(*(node for node in self.nodes if node.id == back))
        elif live and draw < 0.65 and not self.lost and self.coming:
            self.lost.append(rng.choice(self.nodes).id)
            it.tell(NodeGone(self.lost[-1]))
            it.state.strays.clear()  # the machine is dead, and nobody on it has to be stopped
        elif live and draw < 0.75:
            job = rng.choice(live)
            it.tell(Progressed(it.attempt(job), checkpoint=it.state.now))
        elif live:
            it.end(rng.choice(live), rng.choices((Cause.SUCCEEDED, Cause.FAILED), (8, 1))[0], exit_code=1)

    def _settle(self) -> None:
        """Decide until nothing is left to do; every start is confirmed and every stop obeyed at once."""
        stopped: Counter[JobId] = Counter()
        for _ in range(MOST_ROUNDS):
            plan = self.it.decide()
            self._prove()
            for action in plan.each():
                if isinstance(action, Stop):
                    stopped[action.attempt.job] += action.cause is Cause.PREEMPTED  # resized is not taken away
                    self.counts[f"stopped: {action.cause}"] += 1
                elif isinstance(action, Start):
                    self.counts["started"] += 1
            again = [job for job, count in stopped.items() if count > 1]
            if again:
                raise Broken(f"seed {self.seed}: {again} stopped again though nothing had happened: a preemption loop")
            self.it.start()
            stopping = [job for job in self.it.state.unmet if self.it.phase(job) is JobPhase.STOPPING]
            for job in stopping:
                self.it.end(job, Cause.FAILED, signal=15)
                self._prove()
            if not effects(plan) and not stopping:
                self._everybody_knows_why()
                return
        raise Broken(f"seed {self.seed}: decisions without an end")

    def _job(self, index: int) -> Job:
        rng = self.rng
        types = rng.choice(((), (), (), ("H100",), ("A100",), (("H100", 2.0), "A100")))
        gpus = rng.choice((0, 0.25, 0.5, 1, 1, 2, 4))
        request = a_request(gpus, rng.choice((1, 2, 8)), types=types if gpus else ())
        kind = rng.choices(("one", "gang", "elastic", "roles"), (6, 2, 2, 1))[0]
        roles: tuple[Role, ...] = (Role(request=request),)
        if kind == "gang":
            roles = (Role("w", rng.randint(2, 4), request),)
        elif kind == "elastic":
            roles = (Role("w", rng.randint(2, 4), request, 1),)
        elif kind == "roles":
            roles = (Role("head", 1, a_request(0, 1)), Role("w", rng.randint(1, 3), request))
        return a_job(
            f"j{index}", *roles, queue=rng.choice(QUEUES), cls=rng.choice(tuple(PriorityClass)),
            checkpoints=rng.random() < 0.7, estimate=Duration(rng.randint(1, 200) * MINUTE),
        )  # fmt: skip

    def _live(self) -> list[JobId]:
        jobs = self.it.state.jobs
        return [jobs.id_of(row) for row in jobs.rows() if jobs.phase_of(row) is JobPhase.RUNNING]

    # -- what must hold -------------------------------------------------------------------------------------------

    def _prove(self) -> None:
        """The books are right, nothing is given out twice, and gangs are whole or not at all."""
        state = self.it.state
        wrong = [*check(state), *(f"node {name} is oversubscribed" for name in oversubscribed(state))]
        for row in state.jobs.rows():
            placed, job = state.jobs.placement[row], state.jobs.job(row)
            if placed and [task.rank for task in placed] != list(range(len(placed))):
                wrong.append(f"job {job.id}: ranks {placed}")
            for index, role in enumerate(job.roles if placed else ()):
                if not role.least <= sum(task.role == index for task in placed) <= role.count:
                    wrong.append(f"job {job.id}: a part of role {role.name} runs")
        if wrong:
            raise Broken(f"seed {self.seed}: {'; '.join(wrong)}")

    def _shown(self) -> list[JobStatus]:
        """Every job that has not ended, as faces show it."""
        shown = ReadModel()
        shown.fold(1, self.it.state.now, self.it.state)
        return [status for status in shown.jobs() if not status.phase.ended]

    def _everybody_knows_why(self) -> None:
        """Every job that waits has its one reason, and who runs has none."""
        for status in self._shown():
            waits = not status.phase.live
            if waits != bool(status.reason) or waits != bool(status.tier) or status.tier == "in line":
                raise Broken(f"seed {self.seed}: job {status.id} is {status.phase} because of {status.reason!r}")
            if waits:
                self.counts[f"waits: {status.tier}"] += 1

    def _all_accounted_for(self) -> None:
        """Nothing runs and nobody else comes: who still waits cannot run on these nodes, or in its queue.

        Whether a job of several roles fits is told role by role, so it may be told that it has no room now."""
        state = self.it.state
        for status in self._shown():
            several = len(state.jobs.job(state.jobs.row_of[status.id]).roles) > 1
            if status.tier not in ("never fits", "over quota") and not several:
                raise Broken(f"seed {self.seed}: job {status.id} is left on an idle cluster: {status.reason}")


def main() -> int:
    """Run cases one after the other. Exit status 1 when one is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", type=int, nargs="?", default=10_000)
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    options = parser.parse_args()
    total: Counter[str] = Counter()
    for seed in range(options.first, options.first + options.cases):
        try:
            total += Case(seed).run()
        except Broken as error:
            print(error, file=sys.stderr)
            return 1
    print(f"{options.cases} cases hold: {dict(sorted(total.items()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
