"""The shapes of jobs: equal ones are one, whichever way they are found."""

from dataclasses import replace

import pytest

from fairway.model.job import ArrayIndex, Role
from fairway.model.resources import Request
from fairway.model.where import Apart, Where
from fairway.state import groups
from fairway.state.groups import shape_of
from fairway.testing.builders import a_job

ROLES = (Role(count=2, request=Request(gpus=1)),)


def test_jobs_that_share_their_roles_share_a_shape_unless_they_differ_in_where() -> None:
    plain = replace(a_job("a"), roles=ROLES)
    assert shape_of(plain) is shape_of(replace(plain, name="b"))
    assert shape_of(plain) == shape_of(a_job("c", *ROLES))
    europe = replace(plain, where=Where(regions=("eu",)))
    assert shape_of(europe) != shape_of(plain) == shape_of(replace(europe, where=Where()))


def test_elements_keep_apart_from_their_own_array_though_they_share_their_roles() -> None:
    one = replace(a_job("a"), roles=ROLES, where=Where(apart=(Apart("array"),)))
    names = [replace(one, array=ArrayIndex(array, 0, 2)) for array in ("x", "y")]
    assert [shape_of(job).where.apart[0].key for job in names] == ["x", "y"]


def test_shapes_that_nobody_has_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MOST_REMEMBERED", 8)
    monkeypatch.setattr(groups, "_remembered", {})
    for count in range(1, 100):
        assert shape_of(a_job("a", Role(count=count))).roles[0][1] == count
        assert len(groups._remembered) <= 8
