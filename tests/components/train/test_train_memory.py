"""malloc keeps what is freed while a network is trained."""

import resource
from contextlib import suppress
from pathlib import Path

import pytest

from cxrflow.components.train.memory import kept

BLOCK = 48 * 2**20  # bytes: more than glibc ever keeps by itself
PAGES = BLOCK // 4096
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def faults() -> int:
    """Pages that the system gives for taking, filling and freeing a block."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    assert b"x" * BLOCK
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(
    HUGE_PAGES.exists() and "[always]" in HUGE_PAGES.read_text(), reason="no 4-KB-pages here"
)
@pytest.mark.parametrize("fails", [False, True])
def test_a_block_is_taken_from_the_system_once(fails: bool) -> None:
    assert min(faults() for _ in range(3)) > PAGES / 2
    with suppress(ValueError), kept():
        faults()
        assert max(faults() for _ in range(3)) < PAGES / 20
        if fails:
            raise ValueError
    assert min(faults() for _ in range(3)) > PAGES / 2
