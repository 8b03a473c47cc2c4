"""The options that say where a job may run make the manifest that says the same, and mistakes name the option."""

import pytest

from fairway.faces.cli.options import Work, option_of
from fairway.faces.manifests.complaints import InvalidManifest
from fairway.faces.manifests.convert import Caller, jobs_of
from fairway.faces.manifests.read import manifests_from
from fairway.faces.manifests.schema import JobSpec
from fairway.model.job import Job
from fairway.model.time import Instant
from fairway.model.where import Level, Selector, Together, Where


def submitted(work: Work) -> Job:
    [declared] = manifests_from([work.manifest(["python", "train.py"])], "manifest")
    assert isinstance(declared.spec, JobSpec)
    return jobs_of(declared.spec, 1, Instant(0), Caller())[0]


def test_options_say_where() -> None:
    work = Work(
        clean_env=True, node=["disk=nvme", "disk=ssd", "fast"], zone=["eu-1", "eu-2"], tolerate=["team=nlp"], spot=True,
        together="rack",
    )  # fmt: skip
    assert submitted(work).where == Where(
        (Selector("disk", ("nvme", "ssd")), Selector("fast")), zones=("eu-1", "eu-2"), tolerates=("team=nlp",),
        spot=True, together=Together(Level.RACK),
    )  # fmt: skip
    assert submitted(Work(clean_env=True)).where == Where()


@pytest.mark.parametrize(("work", "option"), [(Work(together="shelf"), "--together"), (Work(node=["=a"]), "--node")])
def test_a_mistake_names_the_option(work: Work, option: str) -> None:
    with pytest.raises(InvalidManifest) as refused:
        submitted(work)
    assert option_of(refused.value.errors[0].field.partition(".")[2]) == option
