"""A split's examples, in the order of its files."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.tf


def test_records_come_in_the_order_of_the_sorted_file_names(tmp_path: Path) -> None:
    import tensorflow as tf

    from cxrflow.components.images.records import split_records

    for name, records in (("b-1", [b"3"]), ("a-0", [b"1", b"2"]), ("c-2", [])):
        with tf.io.TFRecordWriter(str(tmp_path / name)) as writer:
            for record in records:
                writer.write(record)
    files = [str(tmp_path / name) for name in ("b-1", "c-2", "a-0")]
    for split in (tmp_path, files):
        assert list(split_records(split).as_numpy_iterator()) == [b"1", b"2", b"3"]
    assert list(split_records([]).as_numpy_iterator()) == []
