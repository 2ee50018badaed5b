import numpy as np
import pytest

from cxrflow.components.train import store
from cxrflow.schema.errors import CxrflowError
from tests.support.disk import synced_paths


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


@pytest.mark.parametrize("damaged", ["inputs.bin", "labels.npy", "form.json"])
@pytest.mark.parametrize("left", [0, 20])
def test_what_a_power_cut_left_of_a_file_is_written_anew(tmp_path, damaged, left):
    store.write(tmp_path / "train", rows(1))
    with (tmp_path / "train" / damaged).open("r+b") as file:
        file.truncate(left)
    assert not store.is_there(tmp_path / "train")
    assert store.write(tmp_path / "train", rows(1)).take([3])[0, 0, 0, 0] == 2


@pytest.mark.parametrize("left", [0, 20, 35])
def test_a_file_that_lost_its_end_is_not_read(tmp_path, left):
    stored = store.write(tmp_path / "train", rows(1))
    with stored.path.open("r+b") as file:
        file.truncate(left)
    with pytest.raises(CxrflowError, match=r"inputs\.bin has lost its end: run the same command"):
        stored.take([0, 3])


def test_files_are_on_the_disk_before_the_folder_has_its_name(tmp_path, monkeypatch):
    synced = synced_paths(monkeypatch)
    store.write(tmp_path / "train", rows(1))
    aside = tmp_path / "train.partial"
    assert {aside / name for name in ("inputs.bin", "labels.npy", "form.json")} < set(synced)


def test_an_interrupted_write_leaves_nothing_to_take_for_whole(tmp_path):
    def broken():
        yield from rows(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(tmp_path / "train", broken())
    assert not (tmp_path / "train").exists()
    assert len(store.write(tmp_path / "train", rows(1))) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
