"""Money in whole micro-dollars: sums never drift."""

from typing import NewType

from fairway.model.time import HOUR

MicroDollars = NewType("MicroDollars", int)

DOLLAR = 1_000_000


def dollars(amount: float) -> MicroDollars:
    """The nearest micro-dollar to an amount in dollars."""
    return MicroDollars(round(amount * DOLLAR))


def cost(hourly: MicroDollars, duration: int) -> MicroDollars:
    """What ``duration`` milliseconds cost at an hourly price, rounded up to the micro-dollar."""
    return MicroDollars(-(-hourly * duration // HOUR))


def format_money(amount: int) -> str:
    """``$12.34``; four places below one cent, so that a cheap job is not shown as free."""
    value = amount / DOLLAR
    return f"${value:,.4f}" if 0 < abs(value) < 0.01 else f"${value:,.2f}"
