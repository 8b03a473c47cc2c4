"""Every error Fairway raises on purpose.

::

    FairwayError                 code, message (what to change), field
    ├── InvalidField             a value that can never be right         exit 2
    ├── NotFound                 no such job, queue, node ...            exit 3
    ├── Conflict                 not in a state that allows it           exit 4
    ├── Refused                  a limit says no: quota, full queue      exit 5
    ├── Unavailable              the control plane cannot be reached     exit 6
    └── StoreError               the durable store                       exit 7
        ├── StoreBusy            another process leads this store
        ├── StaleEpoch           a newer leader has taken over: stop
        ├── StoreFull            no space left, or a read-only file
        ├── CorruptJournal       a frame that does not verify
        └── NewerFormat          written by a newer version
"""

from typing import ClassVar


class FairwayError(Exception):
    """Root of the tree: a stable ``code`` for programs, a sentence for people, the ``field`` it is about."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidField(FairwayError):
    """A value that can never be right, with the path of the field."""

    code = "invalid"
    exit_code = 2

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, field)


class NotFound(FairwayError):
    """No such thing; the message names what was looked for."""

    code = "not_found"
    exit_code = 3


class Conflict(FairwayError):
    """The thing exists but is not in a state that allows the request."""

    code = "conflict"
    exit_code = 4


class Refused(FairwayError):
    """A limit says no; the message has the number used and the limit."""

    code = "refused"
    exit_code = 5


class Unavailable(FairwayError):
    """The control plane cannot be reached; nothing was changed."""

    code = "unavailable"
    exit_code = 6


class StoreError(FairwayError):
    """The durable store cannot do what was asked; nothing acknowledged is lost."""

    code = "store"
    exit_code = 7


class StoreBusy(StoreError):
    """Another process leads this store."""

    code = "store_busy"


class StaleEpoch(StoreError):
    """A newer leader holds the store: this process must stop."""

    code = "stale_epoch"


class StoreFull(StoreError):
    """No space left on the device, or the file is read-only."""

    code = "store_full"


class CorruptJournal(StoreError):
    """A frame does not verify."""

    code = "corrupt_journal"


class NewerFormat(StoreError):
    """The store was written by a newer version of Fairway."""

    code = "newer_format"


ERRORS: dict[str, type[FairwayError]] = {
    kind.code: kind
    for kind in (
        FairwayError, InvalidField, NotFound, Conflict, Refused, Unavailable,
        StoreError, StoreBusy, StaleEpoch, StoreFull, CorruptJournal, NewerFormat,
    )
}  # fmt: skip
"""By code, so that a client can raise again what a server answered."""
