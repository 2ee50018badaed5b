"""What can't be read is one line."""

from pathlib import Path

import pytest

from cxrflow.schema.errors import unreadable


@pytest.mark.parametrize(
    ("path", "error", "line"),
    [
        (Path("a/b"), PermissionError(13, "Denied"), "a/b can't be read: Denied"),
        ("a\nb\udcfc", OSError("a library's own"), r"a\nb\xfc can't be read: a library's own"),
    ],
)
def test_what_can_not_be_read_is_one_line(path: str | Path, error: OSError, line: str) -> None:
    assert str(unreadable(path, error)) == line
