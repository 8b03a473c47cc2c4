"""A value made by ``frozen`` is what ``dataclass`` would have made."""

from dataclasses import FrozenInstanceError, dataclass, fields, replace

import pytest

from fairway.model.frozen import frozen


@frozen
class Quick:
    """A value."""

    one: int
    two: tuple[str, ...] = ("x",)
    three: float | None = None


@dataclass(frozen=True, slots=True)
class Usual:
    """The same, made as usual."""

    one: int
    two: tuple[str, ...] = ("x",)
    three: float | None = None


def test_it_is_made_alike() -> None:
    for arguments, named in (((1,), {}), ((1, ("y",)), {}), ((), {"three": 2.0, "one": 7})):
        quick, usual = Quick(*arguments, **named), Usual(*arguments, **named)  # type: ignore[arg-type]
        assert [getattr(quick, each.name) for each in fields(Quick)] == [
            getattr(usual, each.name) for each in fields(Usual)
        ]
        assert repr(quick) == repr(usual).replace("Usual", "Quick")
        assert hash(quick) == hash(usual)
        assert quick == Quick(*arguments, **named)  # type: ignore[arg-type]
    assert replace(Quick(1), three=3.0) == Quick(1, three=3.0)


def test_it_stays_what_it_is() -> None:
    value = Quick(1)
    with pytest.raises(FrozenInstanceError):
        value.one = 2  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        value.four = 4  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        Quick()  # type: ignore[call-arg]
