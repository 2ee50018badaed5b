"""The process of a shadow, without a version in it."""

import os
import socket
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("niceness", "scheduler"), [(19, "SCHED_IDLE"), (5, "SCHED_OTHER")])
def test_the_lowest_priority_is_the_systems_idle_class(niceness, scheduler):
    """Else the server's threads wait for the end of a slice before they get the processor back."""
    if not hasattr(os, "SCHED_IDLE"):
        pytest.skip("this system has no idle class")
    ours, theirs = socket.socketpair()
    shown = (  # and ends at once: in the idle class Python's own end may take long
        "import os, sys; from cxrflow.serving.shadow import worker;"
        "worker.main(int(sys.argv[1]), int(sys.argv[2]));"
        "print(os.sched_getscheduler(0), os.nice(0), flush=True); os._exit(0)"
    )
    with theirs:
        command = [sys.executable, "-c", shown, str(theirs.fileno()), str(niceness)]
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True
        )
    ours.close()  # which ends it
    assert process.communicate(timeout=250)[0].split() == [
        str(getattr(os, scheduler)),
        str(min(19, os.nice(0) + niceness)),
    ]
