"""The words of golden scenarios that say where nodes stand, and where jobs may run.

Nodes: ``region= zone= cluster= block= rack= island=``, ``labels=disk:nvme,team:nlp``, ``taints=gpu,team=nlp``,
``lifecycle=spot``, ``hourly=24.5``. Jobs: ``select=disk:nvme|ssd,fast`` and ``not=team:nlp`` for labels of nodes,
``region= zone= cluster= tolerates=`` with commas between names, ``spot=yes``, ``together=rack`` (``rack?`` is a wish),
``apart=array,canary@zone,team:nlp@rack``, ``labels=team:nlp``.
"""

from typing import Any

from fairway.model.money import MicroDollars
from fairway.model.node import Topology
from fairway.model.phases import Lifecycle
from fairway.model.where import Apart, Level, Selector, Together, Where

Options = dict[str, str]

_DOMAINS = ("region", "zone", "cluster", "block", "rack", "island")


def place_of_node(options: Options) -> dict[str, Any]:
    """Fields of ``Node``."""
    return {
        "topology": Topology(**{name: options.get(name, "") for name in _DOMAINS}),
        "labels": _pairs(options.get("labels", "")),
        "taints": _names(options.get("taints", "")),
        "lifecycle": Lifecycle(options.get("lifecycle", "on_demand")),
        "hourly": MicroDollars(round(float(options.get("hourly", "0")) * 1_000_000)),
    }


def place_of_job(options: Options) -> dict[str, Any]:
    """Fields of ``Job``."""
    level, wish, _ = options.get("together", "").partition("?")
    asked = [Selector(key, _any_of(values)) for key, values in _pairs(options.get("select", ""))]
    barred = [Selector(key, _any_of(values), without=True) for key, values in _pairs(options.get("not", ""))]
    where = Where(
        labels=(*asked, *barred),
        regions=_names(options.get("region", "")),
        zones=_names(options.get("zone", "")),
        clusters=_names(options.get("cluster", "")),
        tolerates=_names(options.get("tolerates", "")),
        spot=options.get("spot") == "yes",
        apart=tuple(map(_apart, _names(options.get("apart", "")))),
        together=Together(Level(level), required=not wish) if level else None,
    )
    return {"where": where, "labels": _pairs(options.get("labels", ""))}


def _apart(text: str) -> Apart:
    who, _, level = text.partition("@")
    at = Level(level) if level else Level.NODE
    if who == "array":
        return Apart("array", level=at)
    if who == "service":
        return Apart("service", level=at)
    key, _, value = who.partition(":")
    return Apart("label", key, value, at)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, _, value in (each.partition(":") for each in _names(text)))


def _any_of(text: str) -> tuple[str, ...]:
    return tuple(text.split("|")) if text else ()
