"""A process that ends with its parent, however that one ended."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cxrflow.schema.processes import module_command, set_by_signals
from tests.support.processes import has_ended, wait_until_ended

PARENT = """
import subprocess, sys, time
from cxrflow.schema.processes import module_command
child = subprocess.Popen(module_command("tests.support.sleeper", sys.argv[1]))
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_child_ends_with_its_killed_parent(tmp_path: Path) -> None:
    said = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(said)])
    while not said.exists():
        assert parent.poll() is None
        time.sleep(0.02)
    child = int(said.read_text())
    assert not has_ended(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until_ended([child])


def test_the_module_gets_its_arguments_and_its_exit_code_counts() -> None:
    done = subprocess.run(
        module_command("tests.support.sleeper", "--exit", "3"), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (3, "['--exit', '3']\n")


def test_a_child_whose_parent_is_gone_already_does_nothing(tmp_path: Path) -> None:
    command = module_command("tests.support.sleeper", str(tmp_path / "pid"))
    command[command.index(str(os.getpid()))] = "1" if os.getpid() != 1 else "2"
    assert subprocess.run(command).returncode == 1
    assert not (tmp_path / "pid").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_moment_before_the_wait_sets_the_event(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    event = threading.Event()
    try:
        set_by_signals(event)
        with event._cond:  # as a waiting main thread holds it
            signal.raise_signal(number)
        assert event.wait(60)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
