"""A cluster of SLURM on this machine: a controller and two nodes, for tests.

Debian's packages are enough, and nothing is written outside of one folder.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CONF = """\
ClusterName=attnjax
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=17817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
SlurmdTimeout=60
SchedulerParameters=sched_interval=5,bf_interval=5
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
RebootProgram=/bin/false
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17821 {size}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17822 {size}
PartitionName=debug Nodes=n1,n2 Default=YES MaxTime=30 State=UP PreemptMode=OFF
"""


class Cluster:
  """Started when the context is entered, and ended with it."""

  def __init__(self, folder):
    folder.mkdir()
    (folder / "state").mkdir()
    folder.chmod(0o755)
    self.folder = folder
    self.conf = folder / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    size = f"CPUs={os.cpu_count()} RealMemory=2000 State=UNKNOWN"
    self.conf.write_text(CONF.format(host=host, folder=folder, size=size))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)

  def __enter__(self):
    # Its ports are fixed, and another worker may have a cluster of its own.
    self._alone = open(Path(tempfile.gettempdir()) / "slurm_cluster.lock", "w")
    fcntl.flock(self._alone, fcntl.LOCK_EX)
    place = self.folder
    munge = ["munged", "--force", f"--key-file={place}/munge.key"]
    for name in ("socket", "pid", "log", "seed"):
      flag = name if name == "socket" else f"{name}-file"
      munge.append(f"--{flag}={place}/munge.{name}")
    self._start(*munge)
    self._start("slurmctld", "-f", str(self.conf))
    for node in ("n1", "n2"):
      self._start("slurmd", "-N", node, "-f", str(self.conf))
    return self

  def __exit__(self, *_):
    for name in ("slurmd.n1", "slurmd.n2", "slurmctld", "munge"):
      with contextlib.suppress(OSError, ValueError):
        pid = int((self.folder / f"{name}.pid").read_text())
        os.kill(pid, signal.SIGTERM)
    time.sleep(1)
    self._alone.close()

  def logs(self):
    """What the daemons said."""
    paths = sorted(self.folder.glob("*.log"))
    return "".join(f"\n{p.name}:\n{p.read_text()[-3000:]}" for p in paths)

  def _start(self, *command):
    """Starts a daemon, which goes into the background by itself."""
    subprocess.run(command, check=True, timeout=120)
