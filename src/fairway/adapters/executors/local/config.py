"""How the local executor is set up. Everything has a default that works: no configuration is needed."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fairway.model.time import SECOND


class LocalConfig(BaseModel):
    """Frozen; an unknown key or an impossible value is refused with its path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "local"
    """The executor's name in facts and commands."""
    node: str = ""
    """The node's name; the host's when empty."""

    virtual_gpus: int = Field(default=0, ge=0, le=1024)
    """Pretend to have so many devices instead of those that are there. The node is then marked as virtual."""
    virtual_gpu_type: str = Field(default="virtual", min_length=1)
    virtual_gpu_memory_mib: int = Field(default=16_384, gt=0)
    cpu_milli: int | None = Field(default=None, gt=0)
    """Declare so many millicores instead of those found. More than there are marks the node as virtual."""
    memory_mib: int | None = Field(default=None, gt=0)
    """Declare so much memory instead of what is found. More than there is marks the node as virtual."""

    pass_env: tuple[str, ...] = ()
    """Variables of the control plane that tasks get beside the usual ones (``environment.PASSED``)."""
    bind_cores: bool = True
    """Bind each task to as many cores as it asks for, the least loaded ones. Not where more are declared than found."""
    limit_memory: bool = True
    """Hold each task to its memory: in a control group if there is one, else by a resource limit."""
    rlimit_headroom_mib: int = Field(default=128, ge=0)
    """Added to a resource limit, which counts what a program maps for data, not what it uses."""
    cgroup: Literal["auto", "off"] | str = "auto"
    """A delegated cgroup v2 folder to make one group per task in. ``auto``: the control plane's own, if it is one."""
    pids_max: int | None = Field(default=None, gt=0)
    """Processes and threads a task may have; enforced where there is a control group."""

    log_mib: int = Field(default=64, gt=0)
    """A log is rotated when it is larger."""
    log_keep: int = Field(default=2, ge=0)
    """How many rotated parts of each log are kept."""
    keep_attempts: int | None = Field(default=None, ge=0)
    """Remove the folders of forgotten attempts (logs, files in the default work folder) but for so many, oldest first;
    None keeps all. Looked at when the executor opens, and every hour."""
    keep_days: float | None = Field(default=None, ge=0)
    """Remove the folders of forgotten attempts that are older; None keeps all."""

    poll_ms: int = Field(default=250, gt=0)
    """How often progress files are looked at; logs every fourth time."""
    measure_ms: int = Field(default=10 * SECOND, ge=0)
    """How often at most a program is heard that tells what it has measured of its steps."""
    straggler_grace_ms: int = Field(default=5 * SECOND, ge=0)
    """How long what a program left behind may take from SIGTERM to its end, when nobody had asked for a stop."""
