"""A cluster of Apache Flink with Beam's job server, as processes, for `tests.bench engines`.

The cluster is PyPI's apache-flink-libraries. Beam's job server comes in parts from Maven, as its
single jar isn't to be had everywhere; it is older than the Python package.
"""

import json
import shutil
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.programs import Unavailable, get, uv
from tests.support.ports import free_port

FLINK = "1.19.1"
BEAM = "2.62.0"  # the newest Flink runner that Maven gave with all that it needs
MANAGERS = 2  # task managers, each with one slot
_SECONDS = 60  # to come up
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>cxrflow</groupId>
  <artifactId>job-server</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.beam</groupId>
      <artifactId>beam-runners-flink-{FLINK.rpartition(".")[0]}</artifactId>
      <version>{BEAM}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.30</version>
    </dependency>
  </dependencies>
</project>
"""
# TFX's statistics are some hundred tasks a slot, each with buffers for its network.
_CONFIG = """jobmanager.rpc.address: localhost
jobmanager.rpc.port: {rpc}
rest.address: localhost
rest.bind-address: localhost
rest.port: {rest}
jobmanager.memory.process.size: 1g
taskmanager.memory.process.size: 2500m
taskmanager.memory.network.min: 512m
taskmanager.memory.network.max: 512m
taskmanager.numberOfTaskSlots: 1
"""
# What Flink's own configuration opens to it in a Java of modules.
_OPENS = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        *("java.lang", "java.lang.reflect", "java.net", "java.io", "java.nio", "sun.nio.ch"),
        *("java.text", "java.time", "java.util", "java.util.concurrent"),
        *("java.util.concurrent.atomic", "java.util.concurrent.locks"),
    )
]
_ENTRY = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_SIZES = ("org.apache.flink.runtime.util.bash.BashJavaUtils", "GET_TM_RESOURCE_PARAMS")
_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


@dataclass
class Cluster:
    """Started by `start`; `stop` ends it."""

    folder: Path  # for jars, settings and logs
    processes: list[subprocess.Popen] = field(default_factory=list)

    def install(self) -> None:
        """Gets the jars. Raises Unavailable."""
        for program in ("java", "mvn"):
            if not shutil.which(program):
                raise Unavailable(f"there is no {program} on this machine")
        flink = f"apache-flink-libraries=={FLINK}"
        uv("pip", "install", "--target", str(self.folder / "flink"), "--no-deps", flink)
        (self.folder / "pom.xml").write_text(_POM)
        jars = f"-DoutputDirectory={self.folder / 'beam'}"
        pom = str(self.folder / "pom.xml")
        get("mvn", "-q", "-B", "-f", pom, _COPY, jars, "-DincludeScope=runtime")

    def start(self) -> int:
        """Starts a job manager, the task managers and a job server; the job server's port.

        Raises:
            RuntimeError: they don't come up.
        """
        rest, jobs = free_port(), free_port()
        (self.folder / "config.yaml").write_text(_CONFIG.format(rpc=free_port(), rest=rest))
        config = ["--configDir", str(self.folder)]
        home = self.folder / "flink" / "pyflink"
        flink = f"{home / 'lib'}/*"
        self._java("job-manager", "-Xmx700m", "-cp", flink, _ENTRY, *config)
        tool = [f"{home / 'bin' / 'bash-java-utils.jar'}:{flink}", *_SIZES, *config]
        found = subprocess.run(["java", "-cp", *tool], capture_output=True, text=True, check=True)
        sizes, settings = (
            line.partition(":")[2].split()
            for line in found.stdout.splitlines()
            if line.startswith("BASH_JAVA_UTILS_EXEC_RESULT:")
        )
        for number in range(MANAGERS):
            self._java(f"task-manager-{number}", *sizes, "-cp", flink, _MANAGER, *config, *settings)
        server = [
            *(f"--flink-master=localhost:{rest}", "--job-host=localhost", f"--job-port={jobs}"),
            *("--artifact-port=0", "--expansion-port=0"),
            f"--artifacts-dir={self.folder / 'staged'}",
        ]
        self._java("job-server", "-Xmx700m", "-cp", f"{self.folder / 'beam'}/*", _SERVER, *server)
        self._wait(f"http://localhost:{rest}/overview")
        return jobs

    def stop(self) -> None:
        """Ends all of it."""
        for process in self.processes:
            process.kill()
            process.wait()

    def _java(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("w") as log:
            command = ["java", *_OPENS, *arguments]
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _wait(self, overview: str) -> None:
        last = time.monotonic() + _SECONDS
        log = self.folder / "job-server.log"
        while time.monotonic() < last:
            try:
                with urllib.request.urlopen(overview, timeout=5) as answer:
                    ready = json.load(answer)["slots-total"] == MANAGERS
            except OSError:
                ready = False
            if ready and "Job server now running" in log.read_text():
                return
            time.sleep(0.5)
        raise RuntimeError(f"Flink didn't come up in {_SECONDS} s: {log.read_text()[-2000:]}")
