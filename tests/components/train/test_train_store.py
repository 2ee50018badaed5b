import numpy as np
import pytest

from cxrflow.components.train import store


def rows(views: int):
    for view in range(views):
        for start in (0, 2):
            inputs = np.full((2, 3, 3, 1), 10 * view + start, np.uint8)
            yield inputs, np.array([[start], [start + 1]], np.float32)


def test_round_trip_with_views(tmp_path):
    stored = store.write(tmp_path / "train", rows(2), views=2)
    assert (len(stored), stored.views) == (4, 2)
    assert stored.take([3, 0, 1]).dtype == np.uint8
    assert stored.take([3, 0, 1]).shape == (3, 3, 3, 1)
    assert stored.take([3, 0, 1])[:, 2, 2, 0].tolist() == [2, 0, 0]
    assert stored.take([3, 3, 0], [0, 1, 1])[:, 0, 0, 0].tolist() == [2, 12, 10]
    assert stored.labels.tolist() == [[0], [1], [2], [3]]


def test_what_is_there_is_not_written_again(tmp_path):
    store.write(tmp_path / "train", rows(1))

    def must_not_run():
        raise AssertionError
        yield

    assert len(store.write(tmp_path / "train", must_not_run())) == 4


def test_an_interrupted_write_leaves_nothing_to_take_for_whole(tmp_path):
    def broken():
        yield from rows(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(tmp_path / "train", broken())
    assert not (tmp_path / "train").exists()
    assert len(store.write(tmp_path / "train", rows(1))) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
