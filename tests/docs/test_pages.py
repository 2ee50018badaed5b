"""What README and docs name is there: files, commands, options, settings and make's targets."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from cxrflow.pipeline.cli import app
from cxrflow.pipeline.settings import PipelineConfig
from cxrflow.schema.setting_docs import describe

REPO = Path(__file__).parents[2]
PAGES = sorted([*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md")])
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))


def test_the_readme_is_short():
    assert len((REPO / "README.md").read_text().splitlines()) <= 120


@every_page
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), {REPO / "README.md"}
    while waiting:
        page = waiting.pop()
        reached.add(page)
        targets = re.findall(r"\]\(([^)\s]+\.md)\)", page.read_text())
        found = {(page.parent / target).resolve() for target in targets if "://" not in target}
        waiting |= found - reached
    assert set(PAGES) <= reached


def commands(text: str) -> list[list[str]]:
    """The words of each command line of cxrflow in indented code and in backticks."""
    blocks = re.findall(r"^ {4}(?:\.venv/bin/)?cxrflow (.*)$", text, re.MULTILINE)
    blocks += re.findall(r"`(?:\.venv/bin/)?cxrflow ([^`]+)`", text)
    return [shlex.split(re.sub(r"[\[\]]", "", block), comments=True) for block in blocks]


@every_page
def test_commands_and_their_options_exist(page):
    for words in commands(page.read_text()):
        command = get_command(app)
        rest = list(words)
        while hasattr(command, "commands"):
            if not rest or rest[0].startswith("-"):
                break
            assert rest[0] in command.commands, words
            command = command.commands[rest.pop(0)]
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        assert {word for word in rest if word.startswith("--")} <= options, words


SECTIONS = {field.name for field in dataclasses.fields(PipelineConfig)}
SETTINGS = {setting.name for setting in describe(PipelineConfig())}
# No settings.
FILES = {"models.config", "metadata.json", "metadata.sqlite", "metadata.id", "data.yaml"}


@every_page
def test_settings_exist(page):
    for name in re.findall(r"`([a-z_]+\.[a-z_0-9.]+)`", page.read_text()):
        known = name in SETTINGS or any(each.startswith(f"{name}.") for each in SETTINGS)
        if name.partition(".")[0] in SECTIONS and name not in FILES:
            assert known, name


@every_page
def test_targets_of_make_exist(page):
    targets = re.findall(r"^([a-z]+):.*##", (REPO / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:^ {4}|`)(?:[A-Z]+=\S+ )?make ([a-z]+)", page.read_text(), re.MULTILINE)
    assert set(named) <= set(targets)


def test_contributing_names_the_places_to_touch():
    """Each file that a newcomer is sent to, and the name to look for in it."""
    page = (REPO / "CONTRIBUTING.md").read_text()
    pairs = re.findall(r"`(\w+)`(?: \w+)? of\s+`([\w/]+\.py)`", page)
    to_touch = {"BACKBONES", "HEADS", "EXECUTORS", "WIRED", "VARIANTS", "makers", "_VARIANTS"}
    to_touch |= {"max_decision_change", "EdgeConfig"}
    assert to_touch <= {name for name, _ in pairs}
    for name, path in pairs:
        assert re.search(rf"\b{name}\b", (REPO / path).read_text()), (name, path)
    for path in re.findall(r"`((?:components|pipeline|tests|edge|schema)/[\w/.]*)`", page):
        assert (REPO / path).exists(), path
