"""Paths that a run can't carry are refused before anything is done."""

import os
from pathlib import Path

import pytest

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.paths import require_mounted, require_plain, require_root


@pytest.mark.parametrize(
    "name", ["plain", "with space", "'a' \"b\"", "{a},@2;$b&(c)]", "M\u00fcller"]
)
def test_a_root_that_tfx_can_work_in(tmp_path, name):
    assert require_root(tmp_path / name / ".." / name) == (tmp_path / name).resolve()


@pytest.mark.parametrize("sign", ["*", "?", "[", "[1]", "\\"])
def test_a_root_that_tfx_would_take_for_a_pattern(tmp_path, sign, monkeypatch):
    (tmp_path / f"a{sign}b").mkdir()
    link = tmp_path / "link"
    link.symlink_to(f"a{sign}b")
    monkeypatch.chdir(tmp_path / f"a{sign}b")
    for root in (tmp_path / f"a{sign}b", link, Path("runs")):
        with pytest.raises(CxrflowError, match="which TFX takes for a pattern") as caught:
            require_root(root)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [b"M\xfcller", b"a\nb", b"a\x1b[31m"])
def test_what_breaks_a_message_or_is_not_utf8(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    with pytest.raises(CxrflowError, match=r"--root .* isn't UTF-8") as caught:
        require_root(path)
    assert str(caught.value).isascii()
    with pytest.raises(CxrflowError, match="--to"):
        require_plain(path, "--to")


def test_a_link_to_itself(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CxrflowError, match="can't be used"):
        require_root(tmp_path / "loop")


@pytest.mark.parametrize("scheme", ["s3", "gs", "hdfs", "abfss", "https", "file", "memory"])
def test_another_scheme_is_refused_by_name(tmp_path, scheme, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (f"{scheme}://bucket/run", Path(f"{scheme}://bucket/run")):
        with pytest.raises(CxrflowError, match=f"--data {scheme}://bucket/run: {scheme}:// isn't"):
            require_mounted(path, "--data")
    with pytest.raises(CxrflowError, match=f"--root {scheme}://"):
        require_root(Path(f"{scheme}://bucket/run"))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["s3", "a:b", "12:30/x", "/mnt/s3:/x", "./s3:/x", "C:/x", ""])
def test_a_folder_with_a_colon_is_no_url(name):
    require_mounted(name, "--data")
