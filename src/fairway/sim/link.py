"""The wire between the control plane and a site: where messages are lost, doubled, overtaken, late, or cut off."""

from collections.abc import Callable

from fairway.engine.commands import ForgetAttempt, StartAttempt, StopAttempt
from fairway.model.facts import Fact
from fairway.sim.agenda import Agenda
from fairway.sim.faults import Fate
from fairway.sim.site import Site

Order = StartAttempt | StopAttempt | ForgetAttempt


class Link:
    """Carries facts up to ``hear`` and orders down to the site. Without a ``fate`` it is a plain call."""

    def __init__(self, site: Site, agenda: Agenda, hear: Callable[[Fact], None], fate: Fate | None = None) -> None:
        self.site = site
        self.cut = False
        self._agenda, self._hear, self._fate = agenda, hear, fate
        self._held: list[tuple[Callable[..., None], Fact | Order]] = []
        self._obey: dict[type, Callable[..., None]] = {
            StartAttempt: site.start,
            StopAttempt: site.stop,
            ForgetAttempt: site.forget,
        }
        site.tell = self.up if fate else hear

    def down(self, order: Order) -> None:
        """Send an order to the site."""
        obey = self._obey[type(order)]
        if self._fate is None:
            obey(order)
        else:
            self._carry(obey, order, self._fate)

    def up(self, fact: Fact) -> None:
        """Send a fact to the control plane."""
        if self._fate is None:
            self._hear(fact)
        else:
            self._carry(self._hear, fact, self._fate)

    def heal(self) -> None:
        """Join what was cut: what was on its way or said meanwhile arrives now, in order."""
        self.cut = False
        held, self._held = self._held, []
        for to, message in held:
            self._agenda.put(self._agenda.now, self._arrive, (to, message))

    def _carry(self, to: Callable[..., None], message: Fact | Order, fate: Fate) -> None:
        now = self._agenda.now
        for delay in fate.deliveries(now):
            if delay:
                self._agenda.put(now + delay, self._arrive, (to, message))
            else:
                self._arrive((to, message))

    def _arrive(self, what: tuple[Callable[..., None], Fact | Order]) -> None:
        if self.cut:
            self._held.append(what)
        else:
            to, message = what
            to(message)
