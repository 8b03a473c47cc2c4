"""Which jobs the names in ``after`` stand for, and which of them are still to be waited for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fairway.engine.status import JobStatus
from fairway.faces.api.present import Present
from fairway.faces.manifests.read import Declared
from fairway.faces.manifests.schema import AfterSpec, JobSpec
from fairway.model.errors import FairwayError, NotFound, Refused
from fairway.model.ids import JobId
from fairway.model.job import Dependency
from fairway.model.phases import JobPhase


@dataclass(slots=True)
class Earlier:
    """The dependencies of the manifests of one request.

    A name stands for the nearest manifest of that name above, else for the newest job of that name. The number of a
    manifest of the same request is known only when it is put into the inbox: ``accepted`` tells it.
    """

    known: list[list[tuple[AfterSpec, JobId | int]]]
    """For each manifest: what it comes after, as a job's id or as the place of a manifest above."""
    errors: list[FairwayError] = field(default_factory=list[FairwayError])
    stems: dict[int, JobId] = field(default_factory=dict[int, JobId])

    def accepted(self, index: int, spec: JobSpec, number: int) -> None:
        """The manifest at ``index`` has become job, or array, ``number``."""
        self.stems[index] = JobId(f"{spec.name}-{number}")

    def of(self, index: int) -> list[Dependency]:
        """What the manifest at ``index`` waits for, once those above it are accepted."""
        return [
            Dependency(self.stems[target] if isinstance(target, int) else target, spec.when, spec.otherwise)
            for spec, target in self.known[index]
        ]


def look_up(declared: Sequence[Declared], present: Present) -> Earlier:
    """Resolve every name. What has ended as it should is not waited for; what can never be is among ``errors``."""
    found = Earlier([])
    above: dict[str, int] = {}
    for index, each in enumerate(declared):
        known: list[tuple[AfterSpec, JobId | int]] = []
        if isinstance(each.spec, JobSpec):
            for place, spec in enumerate(each.spec.after):
                if spec.job in above:
                    known.append((spec, above[spec.job]))
                    continue
                try:
                    target = _existing(spec, present)
                except FairwayError as error:
                    where = each.document.error(("after", place), "").field
                    found.errors.append(type(error)(error.message, where))
                else:
                    known += [(spec, target)] if target is not None else []
            above[each.spec.name] = index
        found.known.append(known)
    return found


def _existing(spec: AfterSpec, present: Present) -> JobId | None:
    """The job or array to wait for; None when there is nothing to wait for. Raises NotFound, Refused."""
    name, jobs = _newest(spec.job, present)
    if not jobs:
        if present.coming(name):
            return JobId(name)
        raise NotFound(f"no job {spec.job!r} to come after; name its id, or a job in a manifest above this one")
    if not all(job.phase.ended for job in jobs) or present.coming(name):
        return JobId(name)
    failed = [job for job in jobs if job.phase is not JobPhase.SUCCEEDED]
    if spec.when == "ended" or not failed:
        return None
    if spec.otherwise == "wait":
        return JobId(name)
    raise Refused(
        f"{failed[0].id} has {'been cancelled' if failed[0].phase is JobPhase.CANCELLED else 'failed'}, so this could "
        "never start; submit that again, or write when: ended"
    )


def _newest(word: str, present: Present) -> tuple[str, list[JobStatus]]:
    """The id that a word stands for, and the jobs of that id: one, or the elements of an array."""
    one = present.model.job(JobId(word)) or present.queries.job(JobId(word))
    if one is not None:
        return word, [one]
    elements = present.elements(word)
    if elements:
        return word, elements
    called = [job.id for job in present.model.jobs() if job.name == word and job.service is None]
    if not called:
        return word, []
    return _newest(called[-1].partition(".")[0], present)
