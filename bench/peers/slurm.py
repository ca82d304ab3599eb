"""Slurm of Debian on this host alone: controller and node daemon with a configuration and a state of their own."""
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import time

from peers.peer import Graph, NotAvailable, Peer, free_port

CONFIG = """ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
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
    repeats = False

    def prepare(self) -> None:
        if os.geteuid() != 0:
            raise NotAvailable("its daemons need root")
        self.debian("slurmctld", "slurmd", "slurm-client")
        self.version = self.ran("sinfo", "--version").split()[-1]
        for name in ("state", "spool"):
            (self.folder / name).mkdir(exist_ok=True)
        host = socket.gethostname().split(".")[0]
        config = self.folder / "slurm.conf"
        config.write_text(CONFIG.format(host=host, user="root", folder=self.folder, controller=free_port(), node=free_port()))
        self.environment = {**os.environ, "SLURM_CONF": str(config)}
        self.daemons = [subprocess.Popen([shutil.which(program, path="/usr/sbin:/usr/bin"), *flags], env=self.environment, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                        for program, flags in (("slurmctld", ["-D", "-c"]), ("slurmd", ["-D", "-N", host]))]
        try:
            self.wait(lambda: "idle" in subprocess.run(["sinfo", "-h", "-o", "%T"], env=self.environment, capture_output=True,
                                                       text=True).stdout, "its node to be idle")
        except NotAvailable:
            self.close()
            raise

    def submit(self, command: list[str], *flags: str) -> str:
        return self.ran("sbatch", "--parsable", "-o", "/dev/null", *flags, "--wrap", shlex.join(command),
                        env=self.environment, cwd=self.folder).strip()

    def graph(self, graph: Graph) -> float:
        before = time.monotonic()
        jobs: dict[str, str] = {}
        for name, needs, command in graph:
            after = ["-d", "afterok:" + ":".join(jobs[need] for need in needs)] if needs else []
            jobs[name] = self.submit(command, *after)
        self.wait(lambda: not self.ran("squeue", "-h", env=self.environment).strip(), "its jobs", seconds=600)
        return time.monotonic() - before

    def trigger(self, count: int) -> list[float]:
        out = pathlib.Path(self.folder / "stamp.out")
        latencies = []
        for _ in range(min(count, 5)):
            out.unlink(missing_ok=True)
            self.submit(["sh", "-c", f"{self.stamp} > {out}"])
            acknowledged = time.time_ns()
            self.wait(lambda: out.exists() and out.read_text().strip(), "a job")
            latencies.append((int(out.read_text()) - acknowledged) / 1e6)
        return latencies

    def close(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait()
