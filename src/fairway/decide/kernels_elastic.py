"""The loops of ``sizing`` as machine code: numba and nothing else. Import this module inside functions that need it.

It is the same code, function by function, so what is decided does not depend on whether it was compiled.
"""

from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

from numba import njit  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from fairway.decide import sizing

_LOOPS = (
    "enough", "shares", "_reserve", "save", "gain", "step_of", "worthwhile", "_next_step", "grow", "hand_out",
)  # fmt: skip
"""Each after those that it calls."""

_compiled: dict[str, Any] = dict(vars(sizing))
for _name in _LOOPS:
    _plain = cast(FunctionType, _compiled[_name])
    # With these globals a function calls the compiled ones, and is kept on disk from one process to the next.
    _compiled[_name] = cast(
        Callable[..., Any], njit(cache=True)(FunctionType(_plain.__code__, _compiled, _name, _plain.__defaults__))
    )

if TYPE_CHECKING:
    from fairway.decide.sizing import grow, hand_out, save, shares
else:
    shares, save, grow, hand_out = (_compiled[name] for name in ("shares", "save", "grow", "hand_out"))

__all__ = ["grow", "hand_out", "save", "shares"]
