"""The queue's folders: what is where, and that nothing else is needed to go on."""

import json
import os
import time

import pytest

from cxrflow.serving.gateway.queue import BadUid, Queue


@pytest.fixture
def queue(tmp_path):
    with Queue(tmp_path / "queue").opened() as found:
        yield found


def test_a_batch_goes_from_state_to_state(queue):
    assert queue.store("1.2", "1.2.3", b"abc")
    assert (queue.root / "incoming/1.2/1/1.2.3.dcm").read_bytes() == b"abc"
    (batch,) = queue.complete(quiet=0, most=99)
    assert str(batch) == "waiting/1.2/1"
    assert [path.name for path in batch.images()] == ["1.2.3.dcm"]
    for state in ("asked", "answered"):
        batch = queue.move(batch, state)
        assert queue.batches(state) == [batch]
    assert [path.name for path in queue.root.rglob("*.dcm")] == ["1.2.3.dcm"]
    assert not list((queue.root / "waiting").iterdir())


def test_a_study_is_complete_after_a_quiet_time_or_at_last(queue):
    queue.store("1.2", "1.2.3", b"abc")
    assert not queue.complete(quiet=99, most=99)
    time.sleep(0.01)
    queue.store("1.2", "1.2.4", b"abc")
    assert not queue.complete(quiet=99, most=99)
    (batch,) = queue.complete(quiet=99, most=0.005)
    assert len(batch.images()) == 2


@pytest.mark.parametrize("state", ["incoming", "waiting", "asked", "answered", "failed"])
def test_an_image_is_taken_once_whatever_its_state(queue, state):
    queue.store("1.2", "1.2.3", b"abc")
    if state != "incoming":
        (batch,) = queue.complete(0, 99)
        queue.move(batch, state)
    assert not queue.store("1.2", "1.2.3", b"other")
    assert queue.store("1.2", "1.2.4", b"abc")
    assert queue.knows("1.2", "1.2.4") and not queue.knows("1.3", "1.2.4")


def test_late_images_are_another_batch(queue):
    queue.store("1.2", "1.2.3", b"abc")
    queue.complete(0, 99)
    queue.store("1.2", "1.2.4", b"abc")
    (batch,) = queue.complete(0, 99)
    assert [str(one) for one in queue.batches("waiting")] == ["waiting/1.2/1", "waiting/1.2/2"]
    assert [path.name for path in batch.images()] == ["1.2.4.dcm"]


@pytest.mark.parametrize("uid", ["", "..", ".", "1..2", "1.2/3", "a.b", "1.2.", "1" * 65, "1.2\n"])
def test_what_is_no_uid_names_no_folder(queue, uid):
    for pair in ((uid, "1.2"), ("1.2", uid)):
        with pytest.raises(BadUid):
            queue.store(*pair, b"abc")
    assert not list((queue.root / "incoming").iterdir())


def test_a_failed_batch_says_why(queue):
    queue.store("1.2", "1.2.3", b"abc")
    (batch,) = queue.complete(0, 99)
    failed = queue.fail(batch, "no such thing")
    assert json.loads((failed.path / "reason.json").read_text())["reason"] == "no such thing"


def test_marks_of_what_is_sent_go_with_the_batch(queue):
    queue.store("1.2", "1.2.3", b"abc")
    (batch,) = queue.complete(0, 99)
    assert batch.sent("archive") == set()
    batch.mark_sent("archive", batch.path / "report.dcm", "0000")
    assert queue.move(batch, "asked").sent("archive") == {"report.dcm"}


def test_what_a_killed_process_left_half_is_cleared_away(tmp_path):
    root = tmp_path / "queue"
    with Queue(root).opened() as queue:
        queue.store("1.2", "1.2.3", b"abc")
    (root / ".receiving" / "1.2.9.77").write_bytes(b"ha")
    (root / "incoming" / "1.9" / "1").mkdir(parents=True)
    (root / "waiting" / "1.9").mkdir()
    with Queue(root).opened() as queue:
        assert [batch.study for batch in queue.batches("incoming")] == ["1.2"]
        assert not list((root / ".receiving").iterdir())
        assert not list((root / "waiting").iterdir())


def test_answered_batches_are_forgotten_after_their_days(queue):
    queue.store("1.2", "1.2.3", b"abc")
    (batch,) = queue.complete(0, 99)
    queue.move(batch, "answered")
    assert queue.forget(days=1) == 0
    assert queue.forget(days=-1) == 1
    assert not list((queue.root / "answered").iterdir())
    assert os.listdir(queue.root / "failed") == []
