"""Shared fixtures; the Keras and log settings must stand before any import of TensorFlow."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from cxrflow.schema.lean import uncollected

os.environ["TF_USE_LEGACY_KERAS"] = "0"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A child forked beside a gRPC server of an earlier test would run gRPC's handlers, and die.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# Several files are tested at once: more threads for products of small matrices only spin.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The tests start hundreds of processes, and without bytecode each would compile its modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

REPO = Path(__file__).resolve().parents[1]
pytest_plugins = ["tests.support.training_data"]

# On a busy machine examples take as long as they like: no test fails by the clock. Each run has the
# same examples, so that what fails is the change's; --hypothesis-profile=search draws new ones.
settings.register_profile(
    "search",
    derandomize=False,  # which Hypothesis sets by itself where there is a variable CI
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("same", settings.get_profile("search"), derandomize=True)
settings.load_profile("same")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder ../shared with real images and weights; skips where there is none."""
    path = REPO.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"no real data: {path} is missing")
    return path


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--listed-skips",
        action="store_true",
        help="fail where a test is skipped for a reason that isn't in tests/allowed_skips.txt",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With -m "not tf …", a file of which every test imports TensorFlow isn't even imported."""
    if "not tf" not in config.option.markexpr or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text("utf-8")
    return True if re.search(r"^pytestmark = .*pytest\.mark\.tf\b", text, re.MULTILINE) else None


_LONGEST = ("e2e", "slow", "tf")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first: no process is left alone with one of them at the end."""

    ranks: dict[Path, int] = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        rank = next((i for i, name in enumerate(_LONGEST) if name in marks), len(_LONGEST))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """What thousands of tests and their modules are isn't looked through for garbage."""
    with uncollected():
        return (yield)


class _Skips:
    """Fails a run in which a test was skipped for a reason that isn't listed."""

    def __init__(self) -> None:
        lines = Path(__file__).with_name("allowed_skips.txt").read_text("utf-8").splitlines()
        self._allowed = [re.compile(line) for line in lines if line and line[0] != "#"]
        self._others: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not hasattr(report, "wasxfail"):
            self._look(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._look(report)

    def _look(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or not isinstance(report.longrepr, tuple):
            return
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if not any(allowed.fullmatch(reason) for allowed in self._allowed):
            self._others.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if self._others and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        yield

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._others:
            terminalreporter.section("skipped for a reason not in tests/allowed_skips.txt")
            for line in self._others:
                terminalreporter.write_line(line, red=True)


def pytest_configure(config: pytest.Config) -> None:
    if config.option.listed_skips:
        config.pluginmanager.register(_Skips())
