"""tx2-up.sh and tx2-down.sh with a docker that writes down what it is asked, and the Dockerfile.

tx2-entry.sh, the container's first process, is one here too: see test_tx2_entry.py.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

EDGE = Path(__file__).parents[2] / "edge"
SCRIPTS = ("tx2-up.sh", "tx2-down.sh")
ALL = (*SCRIPTS, "tx2-entry.sh")
NAME = "cxrflow-tx2"

# Knows the images and containers that the environment names.
DOCKER = """\
#!{python}
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    secret = {{k: v for k, v in os.environ.items() if k == "JUPYTER_TOKEN"}}
    file.write(json.dumps([sys.argv[1:], secret]) + "\\n")
kind = " ".join(sys.argv[1:3])
if kind == "image ls" and sys.argv[-1] in os.environ["IMAGES"].split():
    print("0123456789ab")
if kind == "container ls":
    assert sys.argv[-2:] == ["--filter", "name=^{name}$"]
    if "{name}" in os.environ["CONTAINERS"].split():
        print("ba9876543210")
if sys.argv[1] == "build":
    assert sys.stdin.read() == open(os.environ["DOCKERFILE"]).read()
if "{fails}" in sys.argv:
    sys.exit("{says}")
"""


class Docker:
    """A bundle's scripts, run with a docker of ours."""

    def __init__(self, root: Path):
        self.root, self.calls = root, root / "calls"
        self.bundle = root / "1795400000"
        self.bundle.mkdir()
        for name in (*ALL, "Dockerfile"):
            shutil.copy(EDGE / name, self.bundle)
        (root / "images").mkdir()
        (root / "out").mkdir()
        os.chown(root / "out", 1234, 1235) if os.getuid() == 0 else None

    def run(
        self,
        script: str,
        *arguments: str,
        images: str = "",
        containers: str = "",
        fails: str = "never",
        says: str = "Cannot connect to the Docker daemon",
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """In the root, which holds images/ and out/; a call with the word `fails` fails."""
        program = self.root / "bin" / "docker"
        program.parent.mkdir(exist_ok=True)
        words = {"python": sys.executable, "name": NAME, "fails": fails, "says": says}
        program.write_text(DOCKER.format(**words))
        program.chmod(0o755)
        self.calls.write_text("")
        env = {
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "CALLS": str(self.calls),
            "IMAGES": images,
            "CONTAINERS": containers,
            "DOCKERFILE": str(self.bundle / "Dockerfile"),
            **environment,
        }
        command = [str(self.bundle / script), *arguments]
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True)

    def called(self) -> list[tuple[list[str], dict[str, str]]]:
        """(arguments, secrets in the environment) of every call."""
        return [tuple(json.loads(line)) for line in self.calls.read_text().splitlines()]

    def ran(self) -> tuple[list[str], str, list[str]]:
        """The last call, a `docker run`: its options, the image, and what runs in it."""
        arguments, _ = self.called()[-1]
        assert arguments[0] == "run"
        place = next(i for i, one in enumerate(arguments) if re.fullmatch(f"{NAME}:\\w+", one))
        return arguments[1:place], arguments[place], arguments[place + 1 :]

    def verbs(self) -> list[str]:
        return [" ".join(arguments[:2]) for arguments, _ in self.called()]


@pytest.fixture
def docker(tmp_path) -> Docker:
    return Docker(tmp_path)


def values(arguments: list[str], option: str) -> list[str]:
    return [after for one, after in pairwise(arguments) if one == option]


def test_up_starts_one_container_without_network_and_rights(docker):
    done = docker.run("tx2-up.sh", "images", "out", images="cxrflow-tx2:runtime")
    assert (done.returncode, done.stderr) == (0, "")
    assert docker.verbs() == ["container ls", "image ls", "run --detach"]
    arguments, image, _ = docker.ran()
    assert image == "cxrflow-tx2:runtime"
    assert values(arguments, "--name") == [NAME]
    assert values(arguments, "--network") == ["none"]
    assert values(arguments, "--runtime") == ["nvidia"]
    assert values(arguments, "--cap-drop") == ["ALL"]
    assert values(arguments, "--security-opt") == ["no-new-privileges"]
    owner = (docker.root / "out").stat()
    assert values(arguments, "--user") == [f"{owner.st_uid}:{owner.st_gid}"]
    assert owner.st_uid != 0
    root = docker.root
    assert values(arguments, "--volume") == [
        f"{docker.bundle}:/bundle:ro",
        f"{root}/images:/images:ro",
        f"{root}/out:/out",
    ]
    for forbidden in ("--privileged", "--publish", "--device", "--pid", "--ipc"):
        assert not any(one.startswith(forbidden) for one in arguments)


SCORING = ["bash", "/bundle/tx2-entry.sh", "python3", "/bundle/infer.py", "/images"]
SCORING += ["--out", "/out/results", "--trt", "/out/engine"]


@pytest.mark.parametrize(
    ("arguments", "work", "told"),
    [
        (["images", "out"], SCORING, "docker logs --follow cxrflow-tx2"),
        (
            ["images", "out", "--labels", "/images/a b.csv"],
            [*SCORING, "--labels", "/images/a b.csv"],
            "the results go to",
        ),
        (
            ["--wait", "images", "out"],
            SCORING[:2],
            "docker exec cxrflow-tx2 python3 /bundle/build_trt.py --out /out/engine",
        ),
    ],
)
def test_up_starts_work_that_comes_back_after_a_power_cut(docker, arguments, work, told):
    done = docker.run("tx2-up.sh", *arguments, images="cxrflow-tx2:runtime")
    assert done.returncode == 0
    assert told in done.stdout
    options, _, command = docker.ran()
    assert values(options, "--entrypoint") + command == work
    assert values(options, "--restart") == ["unless-stopped"]
    assert values(options, "--stop-timeout") == ["30"]
    assert "seccomp" not in " ".join(options)
    assert "nvpmodel" not in done.stdout  # this isn't a Jetson


def test_a_jetson_s_clocks_are_named_and_left_alone(docker):
    program = docker.root / "bin" / "nvpmodel"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho ran >&2\nexit 1\n")
    program.chmod(0o755)
    done = docker.run("tx2-up.sh", "images", "out", images="cxrflow-tx2:runtime")
    assert (done.returncode, done.stderr) == (0, "")
    assert "sudo nvpmodel -m 0 && sudo jetson_clocks" in done.stdout


@pytest.mark.parametrize(
    "says",
    [
        "docker: Error response from daemon: unable to start: seccomp: config provided",
        "runtime/cgo: pthread_create failed: Operation not permitted",
        "clone3: not allowed",
    ],
)
def test_a_docker_that_was_upgraded_alone(docker, says):
    done = docker.run("tx2-up.sh", "images", "out", fails="run", says=says)
    assert done.returncode == 2
    said, remedy = done.stderr.splitlines()
    assert said == says
    assert "SECCOMP=unconfined bash tx2-up.sh" in remedy
    assert docker.run("tx2-up.sh", "images", "out", SECCOMP="unconfined").returncode == 0
    options, _, _ = docker.ran()
    assert values(options, "--security-opt") == ["no-new-privileges", "seccomp=unconfined"]


def test_a_container_that_can_t_be_started(docker):
    done = docker.run("tx2-up.sh", "images", "out", fails="run", says="no space left on device")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "no space left on device",
        "tx2-up: docker can't start cxrflow-tx2; bash tx2-down.sh removes what it left",
    ]


def test_up_builds_the_image_once(docker):
    assert docker.run("tx2-up.sh", "images", "out").returncode == 0
    build = next(arguments for arguments, _ in docker.called() if arguments[0] == "build")
    assert build == ["build", "--tag", "cxrflow-tx2:runtime", "--target", "runtime", "-"]


def test_jupyter_listens_on_loopback_with_a_token_of_its_own(docker):
    tokens = []
    for _ in range(2):
        done = docker.run("tx2-up.sh", "--jupyter", "images", "out", images="cxrflow-tx2:jupyter")
        assert (done.returncode, done.stderr) == (0, "")
        arguments, secret = docker.called()[-1]
        assert values(arguments, "--publish") == ["127.0.0.1:8888:8888"]
        assert values(arguments, "--name") == [NAME]
        assert "--privileged" not in arguments
        _, image, command = docker.ran()
        assert image == "cxrflow-tx2:jupyter"
        assert command[0] == "/bundle/tx2-entry.sh"
        assert "python3 -m notebook" in command[3]
        assert "--ip=0.0.0.0" in command  # of the container
        token = secret["JUPYTER_TOKEN"]
        assert re.fullmatch("[0-9a-f]{48}", token)
        assert done.stdout.count(token) == 1
        assert not any(token in one for one in arguments)  # other users see a process's arguments
        tokens.append(token)
    assert tokens[0] != tokens[1]


@pytest.mark.parametrize("target", ["runtime", "jupyter"])
def test_up_leaves_a_running_container_alone(docker, target):
    options = ["--jupyter"] * (target == "jupyter")
    done = docker.run("tx2-up.sh", *options, "images", "out", containers=NAME)
    assert done.returncode == 2
    assert done.stderr == "tx2-up: cxrflow-tx2 is there already; bash tx2-down.sh stops it\n"
    assert docker.verbs() == ["container ls"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "usage"),
        (["images"], "usage"),
        (["--wait", "images", "out", "--check"], "usage"),
        (["--jupyter", "images"], "usage"),
        (["--jupiter", "images", "out"], "usage"),
        (["images", "--wait", "out"], "usage"),
        (["nowhere", "out"], "there is no folder nowhere"),
        (["images", "a:b"], "':' in its path"),
    ],
)
def test_up_says_what_is_wrong(docker, arguments, told):
    done = docker.run("tx2-up.sh", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert docker.called() == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder of root's")
def test_up_doesn_t_run_as_root(docker):
    os.chown(docker.root / "out", 0, 0)
    done = docker.run("tx2-up.sh", "images", "out")
    assert done.returncode == 2
    assert "is root's" in done.stderr


def test_down_stops_this_container_only(docker):
    done = docker.run("tx2-down.sh", containers=f"other {NAME}")
    assert done.returncode == 0
    listed, *rest = docker.called()
    assert listed[0][:2] == ["container", "ls"]
    assert [arguments for arguments, _ in rest] == [
        ["container", "stop", NAME],
        ["container", "rm", NAME],
    ]


def test_down_without_a_container(docker):
    done = docker.run("tx2-down.sh", containers=f"{NAME}-2 other")
    assert (done.returncode, done.stdout) == (0, "cxrflow-tx2 doesn't run\n")
    assert docker.verbs() == ["container ls"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_docker_that_can_t_be_reached(docker, script):
    done = docker.run(script, *["images", "out"][: 2 * (script == "tx2-up.sh")], fails="ls")
    assert done.returncode != 0
    assert "Cannot connect to the Docker daemon" in done.stderr


@pytest.mark.parametrize("script", ALL)
def test_shell(script):
    assert os.access(EDGE / script, os.X_OK)
    subprocess.run(["bash", "-n", str(EDGE / script)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(EDGE / script)], check=True)


def test_dockerfile():
    text = (EDGE / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", text, re.MULTILINE)
    assert stages == [
        ("nvcr.io/nvidia/l4t-tensorflow:r32.7.1-tf2.7-py3", "runtime"),
        ("runtime", "jupyter"),
    ]
    for stage in text.split("\nFROM ")[1:]:  # neither ends as root
        assert re.findall(r"^USER (\S+)$", stage, re.MULTILINE)[-1] == "1000"
    installed = re.findall(r"pip install (.*)", text)
    assert len(installed) == 3
    assert all("==" in one for one in installed)
    assert not re.search(r"^(COPY|ADD)", text, re.MULTILINE)  # the bundle is mounted
    if shutil.which("hadolint"):
        subprocess.run(["hadolint", str(EDGE / "Dockerfile")], check=True)
