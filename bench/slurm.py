"""A Slurm of one machine, for comparison: its own daemons in a folder of their own, on loopback, stopped afterwards.

Set up to be as fast as it can be on one machine: no accounting, no cgroups, and a scheduler that looks at the whole
queue at short intervals. Nothing of an installed Slurm's own configuration or state is used.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from fairway.testing.polling import wait_for

DAEMONS = ("slurmctld", "slurmd", "munged")
TOOLS = ("sbatch", "squeue", "sinfo")
START_S = 30.0
DONE_S = 300.0
LOOK_S = 0.2
"""Between two looks at the queue: each is a process, and the daemons are to have the machine."""

CONF = """
ClusterName=bench
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=defer,batch_sched_delay=1,sched_min_interval=200000,default_queue_depth=10000
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MpiDefault=none
ReturnToService=2
MaxArraySize=10001
NodeName=here NodeHostname=localhost NodeAddr=127.0.0.1 Port={slurmd_port} CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=here Default=YES MaxTime=INFINITE State=UP
"""


def installed() -> bool:
    """Whether every daemon and tool is there, and may be started by this user."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return os.geteuid() == 0 and all(shutil.which(name, path=path) for name in (*DAEMONS, *TOOLS))


class Slurm:
    """Up with ``cpus`` declared CPUs while the block lasts."""

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        self._folder = Path(tempfile.mkdtemp(prefix="fairway-slurm-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._environment = os.environ | {
            "SLURM_CONF": str(self._folder / "slurm.conf"),
            "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
        }

    def __enter__(self) -> "Slurm":
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def _start(self) -> None:
        folder = self._folder
        folder.chmod(0o755)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        ctld_port, slurmd_port = _free_ports(2)
        conf = CONF.format(folder=folder, user="root", ctld_port=ctld_port, slurmd_port=slurmd_port, cpus=self._cpus)
        (folder / "slurm.conf").write_text(conf)
        places = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={folder}/munge.{name}" for option, name in places.items()]
        self._spawn("munged", "--foreground", "--force", "--num-threads=2", *options)
        wait_for((folder / "munge.socket").exists, "munged", START_S)
        self._spawn("slurmctld", "-D", "-c")
        self._spawn("slurmd", "-D", "-N", "here")
        wait_for(lambda: self.run("sinfo", "-h", "-o", "%T", check=False).strip() == "idle", "slurmd", START_S)

    def _spawn(self, *command: str) -> None:
        with open(self._folder / f"{command[0]}.out", "wb") as out:
            self._processes.append(
                subprocess.Popen(
                    command, env=self._environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    start_new_session=True,
                )
            )  # fmt: skip

    def run(self, *command: str, check: bool = True) -> str:
        """What a tool prints. Raises CalledProcessError."""
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=check)
        return done.stdout

    def jobs_per_s(self, jobs: int) -> float:
        """From ``sbatch`` of one array of ``jobs`` elements, each ``/bin/true`` on one CPU, until the last is done."""
        began = time.monotonic()
        self.run("sbatch", f"--array=0-{jobs - 1}", "-n1", "-o", "/dev/null", "--wrap", "/bin/true")
        while self.run("squeue", "-h", "-r", "-o", "%i").strip():
            if time.monotonic() > began + DONE_S:
                raise AssertionError(f"Slurm did not finish {jobs} jobs in {DONE_S:g} s")
            time.sleep(LOOK_S)
        took = time.monotonic() - began
        states = self.run("squeue", "-h", "-r", "-t", "all", "-o", "%T").split()
        if states.count("COMPLETED") != jobs:
            raise AssertionError(f"Slurm completed {states.count('COMPLETED')} of {jobs} jobs: {set(states)}")
        return jobs / took

    def _stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
