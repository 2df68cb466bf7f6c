"""A Slurm of this machine alone, from Debian's packages: its daemons, for the time of a test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
CPUS = 2
START_SECONDS = 60.0  # far more than the daemons need
# Seconds a credential is valid, and so how long a requeued job has to wait; 120 by default.
CRED_EXPIRE_SECONDS = 5
SBIN = "/usr/sbin"  # where the daemons are, which is not on everybody's PATH

CONF = """\
ClusterName=asd
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={expire}
SlurmctldPort={controller}
SlurmdPort={daemon}
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
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=1,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why no Slurm can be started here; "" where one can."""
    if os.geteuid() != 0:
        return "slurmd starts jobs as root only"
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    if lacking := [name for name in NEEDED if not shutil.which(name, path=path)]:
        return (f"no {lacking[0]}; Debian and Ubuntu: apt-get install slurmctld slurmd "
                "slurm-client munge")  # fmt: skip
    return ""


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands speak to a cluster of this machine.

    Parameters
    ----------
    folder : for its files; short, as a socket's name has at most 107 bytes
    """
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    controller, daemon = free_ports(2)
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=socket.gethostname().partition(".")[0], folder=folder,
                                controller=controller, daemon=daemon, cpus=CPUS,
                                expire=CRED_EXPIRE_SECONDS))  # fmt: skip
    env = os.environ | {"SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}:{SBIN}"}
    of_munge = {
        "socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid",
        "log-file": "munged.log", "seed-file": "munged.seed",
    }  # fmt: skip
    munge = [f"--{option}={folder / name}" for option, name in of_munge.items()]
    with contextlib.ExitStack() as stack:
        for command in (
            ("munged", "--foreground", "--force", *munge),
            ("slurmctld", "-D", "-c", "-f", str(conf)),
            ("slurmd", "-D", "-f", str(conf)),
        ):
            stack.enter_context(_daemon(command, env, folder))
        _wait_until_idle(env, folder)
        yield env


@contextlib.contextmanager
def _daemon(command: Sequence[str], env: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("wb") as out:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT)  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_idle(env: dict[str, str], folder: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        done = subprocess.run(["sinfo", "-h", "-o", "%T"], env=env, capture_output=True, text=True)
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    logs = "".join(f"{path.name}: {path.read_text(errors='replace')[-800:]}\n"
                   for path in sorted([*folder.glob("*.log"), *folder.glob("*.out")]))  # fmt: skip
    raise AssertionError(f"no idle node: {done.stdout}{done.stderr}\n{logs}")
