"""kill -9 under load loses nothing and does nothing twice; the bench does it 50 times."""

import pytest

from tests.support.gateway_kills import trial

KILLS = 4


@pytest.mark.slow
def test_nothing_is_lost_or_done_twice(tmp_path):
    found = trial(tmp_path / "trial", KILLS, seed=16)
    assert found.kills == KILLS and found.sent
    assert (found.lost, found.doubled, found.changed) == ([], [], [])
