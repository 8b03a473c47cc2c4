"""What is written down about attempts, and where. The files are the truth: the control plane only mirrors them.

::

    <data>/index/<job>@<n>              its spec: written before any process, read when the attempt is adopted; moves
                                        into the folder below, and so out of the index, when it is forgotten
    <data>/attempts/<job>@<n>/          stays when the attempt is forgotten
        <rank>.claim                    made by the task's wrapper, and only by the first of them: who runs the program
        <rank>.exit                     how it ended
        <rank>.out, .err, .out.1 ...    what the program wrote, newest first
        progress                        the program's own reports
        stop                            it is to stop, or its rest is after a failure: nothing of it starts any more
    <data>/checkpoints/<job>/           the program's, one for all attempts of a job

A file counts when its last line ends with a newline; one that was cut short is as good as absent. Every instant of an
attempt is the modification time of a file, so they come from one clock and are the same after a restart.

Nothing is synced to disk. Files survive the death of any process. After a power cut some may be gone or empty, but then
every process of before is gone as well: an attempt without a complete ``exit`` from before this boot is lost, whatever
else is there, and is run again as a new attempt. An end that was told is in the journal, which does sync.
"""

import logging
import os
from errno import ENOTEMPTY
from typing import Literal, NamedTuple

import msgspec

from fairway.adapters.executors.local.procs import Stat, parse_stat
from fairway.model.errors import InvalidField
from fairway.model.ids import AttemptId, JobId
from fairway.model.time import Duration, Instant

_log = logging.getLogger(__name__)

WRAPPER = "fairway-task"
"""What the wrapper calls itself."""
_NOT_EXECUTED = ("126", "127")
"""With these a shell ends a command that it cannot execute; a program may use them as well."""
_LINE = 8_192

STREAMS: tuple[Literal["out", "err"], ...] = ("out", "err")


class TaskSpec(msgspec.Struct, frozen=True, array_like=True):
    """One task: its role's name, the cores it is bound to (none: any) and the millicores it takes of them in all."""

    rank: int
    role: str
    cores: tuple[int, ...] = ()
    cpu_milli: int = 0


class Spec(msgspec.Struct, frozen=True):
    """What must be known of an attempt when it is adopted. ``port`` is the gang's rendezvous, 0 without one."""

    tasks: tuple[TaskSpec, ...]
    grace: Duration
    port: int = 0
    version: int = 1


class StopOrder(msgspec.Struct, frozen=True):
    """Nothing starts any more, and what runs has until ``deadline``. ``failed`` is the rank whose failure is the
    reason, None when the engine asked."""

    deadline: Instant
    failed: int | None = None


class Claim(NamedTuple):
    """The wrapper that runs a task: its line of ``/proc``, and the boot that line belongs to."""

    wrapper: Stat
    boot: str


ExitKind = Literal["exited", "unrun", "stopped", "refused", "killed", "lost"]


class Exit(NamedTuple):
    """How a task ended, and when.

    ``exited`` N [NOTE]: the program's status, 128 + signal when a signal ended it · ``unrun`` WHY: the wrapper could
    not start it · ``stopped``: it was told to stop before it started · ``refused`` MESSAGE: it was not even tried ·
    ``killed`` N: its wrapper died by signal N with it · ``lost`` MESSAGE: nobody knows.
    """

    kind: ExitKind
    text: str
    at: Instant


_spec_decoder = msgspec.json.Decoder(Spec)
_stop_decoder = msgspec.json.Decoder(StopOrder)
_encoder = msgspec.json.Encoder()


class Folder:
    """The files of one attempt. Nothing is made until ``create``."""

    __slots__ = ("attempt", "data", "path")

    def __init__(self, data: str, attempt: AttemptId) -> None:
        """Raises InvalidField for a job id that is no file name."""
        if "/" in attempt.job or attempt.job in ("", ".", ".."):
            raise InvalidField("job", f"{attempt.job!r} cannot be the name of a folder")
        self.data = data
        self.attempt = attempt
        self.path = f"{data}/attempts/{attempt}"

    # -- existence -------------------------------------------------------------------------------------------------

    @property
    def marker(self) -> str:
        return f"{self.data}/index/{self.attempt}"

    @property
    def checkpoints(self) -> str:
        return f"{self.data}/checkpoints/{self.attempt.job}"

    @property
    def progress(self) -> str:
        return f"{self.path}/progress"

    def create(self, spec: Spec | None) -> Instant | None:
        """Enter it in the index and make its folder. None when the folder was there: it has been forgotten.

        Returns when the spec was written: the attempt's start. The index comes first: a folder without an entry means
        that the attempt is over for good. Raises OSError.
        """
        written = _write(self.marker, _encode(spec) if spec is not None else b"")
        try:
            os.mkdir(self.path)
        except FileExistsError:
            os.unlink(self.marker)
            return None
        return written

    def rewrite(self, spec: Spec) -> Instant:
        """Write its spec again; the control plane died before it was used, perhaps before there was a folder."""
        os.makedirs(self.path, exist_ok=True)
        return _replace(self.marker, _encode(spec))

    def discard(self) -> bool:
        """Undo ``create`` as long as nothing was written down. False when there is something."""
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            pass  # the control plane died between the index and the folder
        except OSError as error:
            if error.errno != ENOTEMPTY:
                _log.warning("%s cannot be removed, and is taken for one in use: %s", self.path, error)
            return False
        _unlink(self.marker)
        return True

    def forget(self, succeeded: bool) -> None:
        """Leave the index. A job that succeeded has no further attempt: its checkpoint folder goes if it is empty.

        It is moved in with the attempt's files: beside a journal that syncs, removing a folder takes milliseconds on
        ext4, and this is done once for every job.
        """
        try:
            os.rename(self.marker, f"{self.path}/spec")
            if succeeded and not os.listdir(self.checkpoints):
                os.rename(self.checkpoints, f"{self.path}/checkpoints")
        except FileNotFoundError:
            _unlink(self.marker)  # somebody has removed the folder by hand
        except OSError as error:
            _log.warning("the files of %s stay where they are: %s", self.attempt, error)

    # -- records ---------------------------------------------------------------------------------------------------

    def spec(self) -> tuple[Spec, Instant] | None:
        """None when none was written, or it cannot be read: after a power cut that is as good as none."""
        found = _read(self.marker) or _read(f"{self.path}/spec")
        try:
            return found and (_spec_decoder.decode(found[0]), found[1])
        except msgspec.DecodeError as error:
            _log.warning("the spec of %s cannot be read: %s", self.attempt, error)
            return None

    def claim(self, rank: int) -> Claim | None:
        """Who runs a task; None when nobody does yet, or has not finished writing so."""
        found = _read(f"{self.path}/{rank}.claim")
        if found is None:
            return None
        line, _, boot = found[0].decode(errors="replace").rpartition(" ")
        stat = parse_stat(line)
        return stat and Claim(stat, boot)

    def claimed(self, rank: int) -> bool:
        """Whether anybody ever began to claim a task."""
        return os.path.exists(f"{self.path}/{rank}.claim")

    def exit_begun(self, rank: int) -> bool:
        """Whether anybody ever began to write a task's end."""
        return os.path.exists(f"{self.path}/{rank}.exit")

    def exit(self, rank: int) -> Exit | None:
        found = _read(f"{self.path}/{rank}.exit")
        if found is None:
            return None
        kind, _, text = found[0].decode(errors="replace").partition(" ")
        if kind == "exited" and text in _NOT_EXECUTED and (said := self._shell_says(rank)):
            return Exit("unrun", said, found[1])
        return Exit(kind, text, found[1])  # pyright: ignore[reportArgumentType]  # written by us and the wrapper only

    def _shell_says(self, rank: int) -> str:
        """Why the shell could not execute the program, if that is all there is in its error log."""
        try:
            with open(self.log(rank, "err"), "rb") as file:
                lines = file.read(_LINE).decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return lines[0] if lines and all(line.startswith(f"{WRAPPER}: ") for line in lines) else ""

    def write_exit(self, rank: int, kind: ExitKind, text: str | int = "") -> Exit:
        """Write an end on behalf of a task that cannot do so (any more)."""
        line = f"{kind} {text}".strip().replace("\n", " ")
        return Exit(kind, str(text), _replace(f"{self.path}/{rank}.exit", line.encode() + b"\n"))

    def stop(self) -> tuple[StopOrder, Instant] | None:
        """The order to stop. One that cannot be read still is one, and its time is up."""
        found = _read(f"{self.path}/stop")
        try:
            return found and (_stop_decoder.decode(found[0]), found[1])
        except msgspec.DecodeError as error:
            _log.warning("the order to stop %s cannot be read: %s", self.attempt, error)
            return found and (StopOrder(found[1]), found[1])

    def write_stop(self, order: StopOrder) -> Instant:
        return _replace(f"{self.path}/stop", _encode(order))

    def log(self, rank: int, stream: str) -> str:
        return f"{self.path}/{rank}.{stream}"


def prepare(data: str) -> None:
    """Make the folders under ``data``. Only their owner may look inside: logs and environments can hold secrets."""
    os.makedirs(data, mode=0o700, exist_ok=True)
    for name in ("index", "attempts", "checkpoints"):
        os.makedirs(f"{data}/{name}", exist_ok=True)


def indexed(data: str) -> list[AttemptId]:
    """Every attempt that has not been forgotten, in an order that does not depend on the file system."""
    found: list[AttemptId] = []
    for name in sorted(os.listdir(f"{data}/index")):
        job, at, number = name.rpartition("@")
        if at and number.isdecimal():
            found.append(AttemptId(JobId(job), int(number)))
    return found


def log_path(data: str | os.PathLike[str], job: str, n: int, rank: int = 0, stream: str = "out") -> str:
    """Where attempt ``n`` of ``job`` keeps what task ``rank`` writes to ``stream`` (``out`` or ``err``).

    The file may not be there yet; older parts that were rotated away are beside it as ``.1``, ``.2`` ... It is
    shortened in place when it is rotated, so a reader that finds it smaller than it had read begins again at 0.
    Raises InvalidField for a stream or a job id that cannot be.
    """
    if stream not in STREAMS:
        raise InvalidField("stream", f"{stream!r} is not a stream: take out or err")
    return Folder(os.fspath(data), AttemptId(JobId(job), n)).log(rank, stream)


def _encode(record: Spec | StopOrder) -> bytes:
    return _encoder.encode(record) + b"\n"


def _read(path: str) -> tuple[bytes, Instant] | None:
    """The one line of a file, without its newline, and when it was written. None unless it is complete."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, size)
        while len(data) < size and (more := os.read(fd, size - len(data))):
            data += more
        written = os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)
    return (data[:-1], Instant(written // 1_000_000)) if data.endswith(b"\n") else None


def _write(path: str, data: bytes) -> Instant:
    """Write a file in place, and return when. Whoever reads it before it is whole finds no newline at its end."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, data)
        written = os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)
    return Instant(written // 1_000_000)


def _replace(path: str, data: bytes) -> Instant:
    """Write a file whole or not at all."""
    written = _write(path + ".new", data)
    os.rename(path + ".new", path)
    return written


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # what is not there need not be removed
