import os

import pytest

from cxrflow.schema.store.manifest import (
    MANIFEST,
    File,
    Manifest,
    file_paths,
    read_file,
    read_manifest,
    verify,
    write_manifest,
)


@pytest.fixture
def version(tmp_path):
    folder = tmp_path / "7"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(b"")
    files = tuple(read_file(folder, path) for path in file_paths(folder))
    write_manifest(folder, Manifest(7, files, {"mean_auc": 0.5}))
    return folder


def test_a_whole_version(version):
    assert verify(version) == []
    assert read_manifest(version) == Manifest(
        7,
        (
            # printf graph | sha256sum
            File(
                "saved_model.pb",
                5,
                "eef93e1d14482804277fca0172464032d1a4fdbcc338524059fa1e861454ad4d",
            ),
            # sha256sum /dev/null
            File(
                "variables/data",
                0,
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
        ),
        {"mean_auc": 0.5},
    )


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda v: (v / "saved_model.pb").write_bytes(b"grapf"), "saved_model.pb was changed"),
        (lambda v: (v / "variables/data").write_bytes(b"x"), "variables/data was changed"),
        (lambda v: (v / "variables/data").unlink(), "variables/data is missing"),
        (lambda v: (v / "more").touch(), "more isn't in manifest.json"),
        (lambda v: (v / "more").symlink_to("/etc"), "more is no plain file"),
        (lambda v: os.mkfifo(v / "more"), "more is no plain file"),
        (lambda v: (v / MANIFEST).unlink(), "manifest.json can't be read"),
        (lambda v: (v / MANIFEST).write_text("{"), "manifest.json can't be read"),
        (lambda v: (v / MANIFEST).write_text("[]"), "manifest.json can't be read"),
        (lambda v: (v / MANIFEST).write_text('{"files": [1]}'), "manifest.json can't be read"),
        (lambda v: (v / MANIFEST).write_bytes(b"\xff"), "manifest.json can't be read"),
    ],
)
def test_verify_finds_damage(version, damage, problem):
    damage(version)
    (found,) = verify(version)
    assert found.startswith(problem)


def test_verify_refuses_links_even_to_the_same_bytes(version):
    (version / "saved_model.pb").rename(version.parent / "elsewhere")
    (version / "saved_model.pb").symlink_to(version.parent / "elsewhere")
    assert verify(version) == ["saved_model.pb is no plain file"]


def test_verify_refuses_another_versions_folder(version):
    moved = version.rename(version.parent / "8")
    assert verify(moved) == ["manifest.json is version 7's"]
