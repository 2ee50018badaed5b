"""The files that tools read: citation, changelog, hooks, workflows, Dockerfile, dev container."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[2]
PYPROJECT = (REPO / "pyproject.toml").read_text()
VERSION = re.search(r'^version = "(.*)"$', PYPROJECT, re.MULTILINE)[1]
MAKEFILE = (REPO / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z]+):.*##", MAKEFILE, re.MULTILINE))
WORKFLOWS = sorted((REPO / ".github" / "workflows").glob("*.yml"))


def test_the_citation_is_valid():
    """The keys that the Citation File Format 1.2.0 requires, and ours."""
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == VERSION
    assert citation["license"] == re.search(r'^license = "(.*)"$', PYPROJECT, re.MULTILINE)[1]
    for work in (citation, *citation["references"]):
        assert work["title"] and work["type"]
        assert all("name" in one or "family-names" in one for one in work["authors"])
    assert citation["message"]
    (paper,) = citation["references"]
    assert (paper["type"], paper["year"]) == ("conference-paper", 2017)


def test_the_changelog_keeps_its_form():
    text = (REPO / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.*)\]( - \d{4}-\d\d-\d\d)?$", text, re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    assert all(date for _, date in versions[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds


def test_hooks_use_the_environment_s_tools():
    (repository,) = yaml.safe_load((REPO / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"  # nothing is fetched from elsewhere
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    assert {"ruff", "ruff-format", "mypy", "mypy-edge", "vermin", "docs"} == set(hooks)
    for hook in hooks.values():
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
    vermin = hooks["vermin"]
    for hook in ("mypy", "mypy-edge", "vermin"):
        assert hooks[hook]["entry"] in MAKEFILE.replace("$(BIN)", ".venv/bin")
    for path, looked_at in {
        "edge/infer.py": True,
        "schema/portable/label_table.py": True,
        "pipeline/setup/bootstrap.py": True,
        "pipeline/setup/package/__init__.py": False,
        "edge/README.md": False,
        "schema/errors.py": False,
        "components/edge/device.py": False,
    }.items():
        assert (REPO / path).exists()
        assert bool(re.search(vermin["files"], path)) is looked_at, path


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_whole(path):
    workflow = yaml.safe_load(path.read_text())
    triggers = workflow[True]  # YAML 1.1 reads "on" as a truth value
    assert "push" in triggers
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"] == "ubuntu-24.04"  # whose C library TFX's packages need
        assert job["timeout-minutes"]
        for step in job["steps"]:
            assert ("uses" in step) is not ("run" in step), step
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/x@v1"))
            for target in re.findall(r"\bmake (\w+)", step.get("run", "")):
                assert target in TARGETS, target
    for name in re.findall(r"\$\{\{ ?matrix\.(\w+) ?\}\}", path.read_text()):
        matrices = [job.get("strategy", {}).get("matrix", {}) for job in workflow["jobs"].values()]
        rows = [row for matrix in matrices for row in matrix.get("include", [])]
        assert any(name in each for each in [*matrices, *rows]), name


def test_the_check_runs_on_every_supported_python():
    workflow = yaml.safe_load((REPO / ".github/workflows/check.yml").read_text())
    tried = workflow["jobs"]["check"]["strategy"]["matrix"]["python"]
    first, beyond = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', PYPROJECT).groups()
    assert tried == [f"3.{minor}" for minor in range(int(first), int(beyond))]


def test_the_suite_is_what_ci_runs():
    workflow = yaml.safe_load((REPO / ".github/workflows/suite.yml").read_text())
    assert ".ci/run" in [step.get("run") for step in workflow["jobs"]["suite"]["steps"]]
    assert os.access(REPO / ".ci" / "run", os.X_OK)


def test_a_released_wheel_is_tried_as_the_client_that_it_is():
    (step,) = (
        step["run"]
        for step in yaml.safe_load((REPO / ".github/workflows/release.yml").read_text())["jobs"][
            "wheel"
        ]["steps"]
        if "/tmp/empty" in step.get("run", "")
    )
    for command in ("cxrflow --help", "cxrflow predict --help", "import Client"):
        assert command in step


def stages() -> dict[str, str]:
    """The Dockerfile's stages by name, in their order: what stands after each FROM."""
    text = (REPO / "Dockerfile").read_text()
    found = re.split(r"^FROM (\S+) AS (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: f"FROM {base}\n{body}" for base, name, body in zip(*[iter(found)] * 3)}  # noqa: B905


def test_no_image_runs_as_root():
    for name, body in stages().items():
        users = re.findall(r"^USER (\S+)$", body, re.MULTILINE)
        assert name == "environment" or (users and not users[-1].startswith(("0", "root"))), name


def test_images_start_from_a_new_enough_system():
    for body in stages().values():
        base = re.match(r"FROM (\S+)", body)[1]
        assert base == "python:${PYTHON}-slim-trixie" or base in stages()
    assert list(stages())[-1] == "pipeline"  # what is built where no target is named


def test_beam_s_boot_program_is_of_the_version_that_is_locked():
    (image,) = re.findall(r"--from=apache/beam_python3.11_sdk:(\S+)", stages()["beam"])
    lock = (REPO / "requirements.lock").read_text()
    assert image == max(re.findall(r"^apache-beam==([\d.]+)", lock, re.MULTILINE))


def test_images_get_what_the_package_is_made_of():
    allowed = (REPO / ".dockerignore").read_text().splitlines()
    assert "*" in allowed  # all else is left out
    kept = [line[1:] for line in allowed if line.startswith("!")]
    assert all((REPO / name).exists() for name in kept)
    folders = re.search(r"FOLDERS = \((.*)\)", (REPO / "setup.py").read_text())[1]
    assert {name.strip(' "') for name in folders.split(",")} <= set(kept)
    assert {"pyproject.toml", "setup.py", "requirements.lock", "README.md", "edge"} <= set(kept)


def test_the_dev_container_is_a_target_of_the_dockerfile():
    container = json.loads((REPO / ".devcontainer.json").read_text())
    assert (REPO / container["build"]["dockerfile"]).exists()
    assert container["build"]["target"] in stages()
    assert set(re.findall(r"\bmake (\w+)", container["postCreateCommand"])) == {"setup"}
    tools = stages()[container["build"]["target"]]
    assert "jupyterlab" in tools
    assert "-m ipykernel install" in container["postCreateCommand"]  # or it has no kernel of ours
    for package in re.findall(r"^  install \w+ (\S+)$", (REPO / ".ci/run").read_text(), re.M):
        assert package in tools.split()  # what CI installs for the tests
