"""What befalls a simulated world by itself: machines that die, sites that are cut off, clocks that step back."""

from collections.abc import Callable, Sequence

from fairway.model.facts import NodeGone
from fairway.model.ids import NodeId
from fairway.model.node import Node
from fairway.model.time import SECOND, Duration
from fairway.sim.agenda import Agenda, Clock
from fairway.sim.faults import Fate
from fairway.sim.link import Link

NOTICED_WITHIN = Duration(5 * SECOND)
"""How long it takes at most until a node that died, or was cut off, is declared gone."""


class Mishaps:
    """Draws from ``fate`` when each kind strikes next, until it says never. ``tell`` is how the detector reports."""

    def __init__(
        self, fate: Fate, agenda: Agenda, links: Sequence[Link], clock: Clock, tell: Callable[[NodeGone], None]
    ) -> None:
        self._fate, self._agenda, self._links, self._clock, self._tell = fate, agenda, links, clock, tell
        self._strikes: dict[str, Callable[[], None]] = {
            "node_loss": self._lose_node,
            "partition": self._cut_off,
            "clock_steps": self._step_clock,
        }
        for kind in self._strikes:
            self._expect(kind)

    def _expect(self, kind: str) -> None:
        at = self._fate.next_time(kind, self._agenda.now)
        if at is not None:
            self._agenda.put_chore(at, self._strike, kind)

    def _strike(self, kind: str) -> None:
        self._strikes[kind]()
        self._expect(kind)

    def _soon(self, kind: str) -> int:
        return self._agenda.now + self._fate.upto(kind, NOTICED_WITHIN)

    def _back_at(self, kind: str) -> int:
        return self._agenda.now + NOTICED_WITHIN + self._fate.upto(kind, self._fate.faults.outage)

    def _lose_node(self) -> None:
        up = [(link, node) for link in self._links for node in link.site.nodes.values()]
        if not up:
            return
        link, node = up[self._fate.pick("node_loss", len(up))]
        link.site.lose_node(node.id)
        self._agenda.put(self._soon("node_loss"), self._notice, (link, (node.id,)))
        self._agenda.put(self._back_at("node_loss"), self._return, (link, node))

    def _return(self, what: tuple[Link, Node]) -> None:
        link, node = what
        link.site.add_node(node)
        link.up(link.site.inventory())

    def _cut_off(self) -> None:
        link = self._links[self._fate.pick("partition", len(self._links))]
        if link.cut:
            return
        link.cut = True
        self._agenda.put(self._soon("partition"), self._notice, (link, tuple(link.site.nodes)))
        self._agenda.put(self._back_at("partition"), self._heal, link)

    def _heal(self, link: Link) -> None:
        link.heal()
        link.up(link.site.inventory())

    def _notice(self, what: tuple[Link, tuple[NodeId, ...]]) -> None:
        link, nodes = what
        for node in nodes:
            if link.cut or node not in link.site.nodes:
                self._tell(NodeGone(node))

    def _step_clock(self) -> None:
        """One clock is put back, or put right again if it was wrong."""
        which = self._fate.pick("clock_steps", len(self._links) + 1)
        back = -self._fate.upto("clock_steps", self._fate.faults.step_by)
        if which == len(self._links):
            self._clock.offset = 0 if self._clock.offset else back
        else:
            site = self._links[which].site
            site.skew = 0 if site.skew else back
