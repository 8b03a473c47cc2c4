"""Starting attempts: what is written down first, and what each wrapper is given."""

import os
import signal
from hashlib import blake2s

from fairway.adapters.executors.local import cgroup, environment
from fairway.adapters.executors.local.attempt import Attempt, Task
from fairway.adapters.executors.local.config import LocalConfig
from fairway.adapters.executors.local.cores import Cores
from fairway.adapters.executors.local.discover import Machine
from fairway.adapters.executors.local.folder import Spec, TaskSpec
from fairway.adapters.executors.local.gang import Ports
from fairway.adapters.executors.local.housekeeping import raise_open_files
from fairway.adapters.executors.local.launch import Launch, Unlaunchable, check, keep_files_to_ourselves, spawn
from fairway.adapters.executors.local.procs import boot_id, signal_group
from fairway.adapters.executors.local.watching import Watcher
from fairway.engine.commands import StartAttempt
from fairway.model.ids import AttemptId
from fairway.model.plan import TaskPlacement


class CannotStart(Exception):
    """Why task ``rank`` of an attempt cannot be started, for people."""

    def __init__(self, rank: int, message: str) -> None:
        super().__init__(message)
        self.rank = rank


class Starter:
    """Starts wrappers and hands them to the watcher; keeps the books of cores and ports while attempts live."""

    def __init__(self, machine: Machine, config: LocalConfig, watcher: Watcher) -> None:
        self._machine = machine
        self._config = config
        self._watcher = watcher
        self._cores = Cores(machine.cores)
        # Where more cores are declared than there are, being bound to some would only be in each other's way.
        self._binds = config.bind_cores and machine.node.cpu_milli <= 1_000 * len(machine.cores)
        self._ports = Ports()
        self._held: set[AttemptId] = set()
        self._base = environment.base(os.environ, config.pass_env)
        self._groups = cgroup.find(config.cgroup) if config.limit_memory else None
        self._nofile = raise_open_files()
        keep_files_to_ourselves()

    def plan(self, command: StartAttempt) -> Spec:
        """Choose cores and a rendezvous; they are taken until ``release`` or ``give_back``. Raises OSError."""
        port = self._ports.take() if environment.is_gang(command) else 0
        tasks: list[TaskSpec] = []
        for placed in command.placement:
            role = command.job.roles[placed.role]
            milli = role.request.cpu_milli
            cores = self._cores.choose(milli) if self._binds else ()
            self._cores.add(cores, milli)
            tasks.append(TaskSpec(placed.rank, role.name, cores, milli))
        self._held.add(command.attempt)
        return Spec(tuple(tasks), command.job.grace, port)

    def launch(self, attempt: Attempt, command: StartAttempt) -> None:
        """Start every idle task of a planned attempt. All are checked before any is started.

        Raises CannotStart, when some may have been started, and OSError, when none was.
        """
        if attempt.spec is None:
            raise ValueError(f"{attempt.id} was not planned")
        idle = {task.rank: task for task in attempt.tasks if task.idle}
        common = environment.for_attempt(command, attempt.folder, self._machine, attempt.spec.port)
        ready = [
            (idle[placed.rank], self._launch(attempt, idle[placed.rank], command, placed, common))
            for placed in command.placement
            if placed.rank in idle
        ]
        if ready:
            _make_folder(attempt.folder.checkpoints)
        for task, launch in ready:
            self._spawn(attempt, task, launch)
        if not any(task.idle for task in attempt.tasks):
            attempt.started = attempt.planned

    def hold(self, attempt: Attempt) -> None:
        """Take an adopted attempt into the books, and find its control groups again."""
        if attempt.spec is None:
            return
        self._held.add(attempt.id)
        self._ports.hold(attempt.spec.port)
        for task in attempt.tasks:
            self._cores.add(task.spec.cores, task.spec.cpu_milli)
            if self._groups is not None:
                task.cgroup = f"{self._groups}/{self._group_name(attempt, task)}"

    def release(self, attempt: Attempt) -> None:
        """Take an ended attempt out of the books."""
        if attempt.spec is not None:
            self.give_back(attempt.id, attempt.spec)

    # -- one task --------------------------------------------------------------------------------------------------

    def _launch(
        self, attempt: Attempt, task: Task, command: StartAttempt, placed: TaskPlacement, common: dict[str, str]
    ) -> Launch:
        job, role = command.job, command.job.roles[placed.role]
        node = self._machine.node
        if placed.node != node.id:
            raise CannotStart(task.rank, f"it was placed on {placed.node}, and this executor has only {node.id}")
        if any(device >= len(self._machine.devices) for device in placed.devices):
            raise CannotStart(task.rank, f"it was given device {max(placed.devices)}, and {node.id} has {node.gpus}")
        own = environment.for_task(command, placed, self._machine)
        whole = {**self._base, **dict(job.env), **common, **own}
        argv = role.command or job.command
        workdir = job.workdir or attempt.folder.path
        try:
            check(argv, workdir, whole)
        except Unlaunchable as error:
            raise CannotStart(task.rank, str(error)) from error
        memory = role.request.memory_mib if self._config.limit_memory else 0
        if self._groups is not None:
            task.cgroup = self._group(self._groups, attempt, task, memory)
        limit = (memory + self._config.rlimit_headroom_mib) << 10 if memory and not task.cgroup else None
        return Launch(
            attempt.folder.path, task.rank, boot_id(), workdir, argv, whole,
            task.spec.cores, limit, task.cgroup, self._nofile,
        )  # fmt: skip

    def _spawn(self, attempt: Attempt, task: Task, launch: Launch) -> None:
        try:
            pid = spawn(launch)
        except (OSError, ValueError) as error:
            raise CannotStart(task.rank, f"no process can be started: {error}") from error
        try:
            self._watcher.own(attempt, task, pid)
        except OSError as error:
            # Out of descriptors: what cannot be watched must not run. It is our child, so its number is still its own.
            signal_group(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise CannotStart(task.rank, f"its process cannot be watched: {error}") from error

    def _group(self, parent: str, attempt: Attempt, task: Task, memory_mib: int) -> str:
        try:
            return cgroup.create(parent, self._group_name(attempt, task), memory_mib, self._config.pids_max)
        except OSError as error:
            raise CannotStart(task.rank, f"its control group in {parent} cannot be made: {error}") from error

    def _group_name(self, attempt: Attempt, task: Task) -> str:
        """Told apart from those of another data folder, and found again after a restart."""
        owner = blake2s(attempt.folder.data.encode(), digest_size=4).hexdigest()
        return f"fairway-{owner}-{attempt.id}.{task.rank}"

    def give_back(self, attempt_id: AttemptId, spec: Spec) -> None:
        """Take a plan out of the books again, once."""
        if attempt_id in self._held:
            self._held.discard(attempt_id)
            self._ports.release(spec.port)
            for task in spec.tasks:
                self._cores.remove(task.cores, task.cpu_milli)


def _make_folder(path: str) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        pass  # from an earlier attempt: the program's checkpoints are in it
