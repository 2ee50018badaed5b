"""malloc keeps what is freed while a network is trained."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = 48 * 2**20  # bytes: more than glibc ever keeps by itself
PAGES = BLOCK // 4096
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

# Prints the pages that the system gives for taking, filling and freeing a block, thrice each:
# before, inside (after a first time), and after.
STORY = f"""
import json, resource
from contextlib import suppress
from cxrflow.components.train.memory import kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    assert b"x" * {BLOCK}
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def thrice():
    return [faults() for _ in range(3)]

before = thrice()
with suppress(ValueError), kept():
    faults()
    inside = thrice()
    if {{fails}}:
        raise ValueError
print(json.dumps([before, inside, thrice()]))
"""


@pytest.mark.skipif(
    HUGE_PAGES.exists() and "[always]" in HUGE_PAGES.read_text(), reason="no 4-KB-pages here"
)
@pytest.mark.parametrize("fails", [False, True])
def test_a_block_is_taken_from_the_system_once(fails: bool) -> None:
    # A process of its own: what other tests left free in this one would be taken first.
    command = [sys.executable, "-c", STORY.format(fails=fails)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, inside, after = json.loads(done.stdout)
    assert min(before) > PAGES / 2
    assert max(inside) < PAGES / 20
    assert min(after) > PAGES / 2
