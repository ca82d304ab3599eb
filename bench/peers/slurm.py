"""Slurm of Debian on this host alone: controller and node daemon with a configuration and a state of their own."""
import os
import pathlib
import shlex
import shutil
import socket
import time

from peers.peer import Graph, NotAvailable, Peer, free_port

CONFIG = """ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
PluginDir={plugins}
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=bench Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


class Slurm(Peer):
    name = "slurm"
    graph_max = 20
    fan_max = 100
    quick = False

    def install(self) -> None:
        if os.geteuid() != 0:
            raise NotAvailable("its daemons need root")
        self.debian("slurmctld", "slurmd", "slurm-client")

    def start(self) -> None:
        self.with_debian()
        host = socket.gethostname().split(".")[0]
        stepd = self.program("slurmstepd")
        plugins = next(stepd.parents[2].glob("usr/lib/*/slurm-wlm"))
        for name in ("state", "spool"):
            (self.work / name).mkdir()
        config = self.work / "slurm.conf"
        config.write_text(CONFIG.format(host=host, folder=self.work, plugins=plugins, controller=free_port(), node=free_port()))
        self.environment |= {"SLURM_CONF": str(config), "LD_LIBRARY_PATH": f"{plugins}:{plugins.parent}"}
        self.version = self.asked("sinfo", "--version").split()[-1]
        self.service("controller", self.program("slurmctld"), "-D", "-c")
        self.service("node", self.program("slurmd"), "-D", "-N", host, "-d", stepd)
        self.wait(lambda: "idle" in self.asked("sinfo", "-h", "-o", "%T"), "its node to be idle", every=0.2)

    def program(self, name: str) -> pathlib.Path:
        for one in (f"{name}-wlm", name):
            if found := shutil.which(one, path=self.environment["PATH"]):
                return pathlib.Path(found)
        raise NotAvailable(f"{name} is not there")

    def submit(self, command: list[str], *flags: str) -> str:
        return self.asked("sbatch", "--parsable", "-o", "/dev/null", *flags, "--wrap", shlex.join(command)).strip()

    def graph(self, graph: Graph) -> float:
        before = time.monotonic()
        jobs: dict[str, str] = {}
        for name, needs, command in graph:
            after = ["-d", "afterok:" + ":".join(jobs[need] for need in needs)] if needs else []
            jobs[name] = self.submit(command, *after)
        self.wait(self.idle, "its jobs", 600, 0.1)
        return time.monotonic() - before

    def idle(self) -> bool:
        return not self.asked("squeue", "-h").strip()

    def trigger(self, count: int) -> list[float]:
        command = ["sh", "-c", f"{self.stamp} > {self.work / 'stamp.out'}"]
        return [self.stamped(lambda: self.submit(command), lambda _: self.idle()) for _ in range(min(count, 5))]
