import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from cxrflow.components.ingest.check import check_folder, render
from cxrflow.components.ingest.folder import find_folder, fingerprint, write_manifest
from cxrflow.components.ingest.plan import check_cheaply, make_plan
from cxrflow.schema.errors import CxrflowError

ROWS = [("00000001_000.png", "Mass"), ("00000002_000.png", "No Finding")]


@pytest.mark.parametrize(
    ("table", "images"),
    [
        ("Data_Entry_2017.csv", "images"),
        ("Data_Entry_2017_v2020.csv", "images_012/images"),
        ("sample_labels.csv", "sample/images"),
        ("sample/sample_labels.csv", "sample/images"),
    ],
)
def test_the_layouts(data_folder, table, images):
    root = data_folder(ROWS, table=table, images=images)
    folder = find_folder(root)
    assert folder.table == root / table
    assert folder.images == {name: str(root / images / name) for name, _ in ROWS}
    assert folder.train_val_list is None and folder.test_list is None and not folder.synthetic


def test_images_of_all_twelve_parts_are_found_and_repeats_noticed(data_folder):
    root = data_folder(ROWS, images="images_001/images")
    (root / "images_002" / "images").mkdir(parents=True)
    for name in ("00000002_000.png", "00000003_000.PNG", ".hidden.png", "Thumbs.db"):
        (root / "images_002" / "images" / name).write_bytes(b"x")
    folder = find_folder(root)
    assert sorted(folder.images) == ["00000001_000.png", "00000002_000.png", "00000003_000.PNG"]
    assert folder.repeated == {"00000002_000.png"}


def test_a_link_to_nowhere_is_no_image(data_folder):
    root = data_folder(ROWS)
    (root / "images" / "00000009_000.png").symlink_to("nowhere")
    assert len(find_folder(root).images) == 2
    fingerprint(root)


def test_phantoms_say_so(data_folder):
    root = data_folder(ROWS)
    (root / "SYNTHETIC.json").write_text("{}")
    assert find_folder(root).synthetic


@pytest.mark.parametrize("there", [False, True])
def test_a_download_that_was_stopped_is_named(tmp_path, there):
    folder = tmp_path / "x"
    (tmp_path / "x.download").mkdir()
    if there:
        folder.mkdir()
    with pytest.raises(CxrflowError, match=r"x\.download is a download that was stopped, the same"):
        find_folder(folder)


def test_what_is_no_data_folder_stops_with_one_line(data_folder, tmp_path):
    root = data_folder(ROWS)
    cases = {tmp_path / "none": "is not a folder", root / "Data_Entry_2017.csv": "is not a folder"}
    cases |= {tmp_path: "has no table", root / "images": "has no table"}
    for path, message in cases.items():
        with pytest.raises(CxrflowError, match=message):
            find_folder(path)
    (root / "sample_labels.csv").touch()
    with pytest.raises(CxrflowError, match=r"several tables \(Data_Entry_2017.csv, sample_labels"):
        find_folder(root)
    (root / "sample_labels.csv").unlink()
    (root / "images").rename(root / "pictures")
    with pytest.raises(CxrflowError, match="has no images"):
        find_folder(root)


def test_the_fingerprint_changes_with_the_data_only(data_folder):
    root = data_folder(ROWS, train_val=[ROWS[0][0]], test=[ROWS[1][0]])
    image, table = root / "images" / ROWS[0][0], root / "Data_Entry_2017.csv"
    seen = [fingerprint(root)]
    (root / "notes.txt").write_text("no data")
    os.utime(table, ns=(1, 1))
    assert fingerprint(root) == seen[0]

    stat = image.stat()
    image.write_bytes(image.read_bytes() + b"x")
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    seen.append(fingerprint(root))
    os.utime(image, ns=(1, 1))
    seen.append(fingerprint(root))
    image.rename(root / "images" / "00000005_000.png")
    seen.append(fingerprint(root))
    table.write_text(table.read_text() + "\n")
    seen.append(fingerprint(root))
    (root / "test_list.txt").unlink()
    seen.append(fingerprint(root))
    (root / "SYNTHETIC.json").write_text("{}")
    seen.append(fingerprint(root))
    assert len(set(seen)) == len(seen)


ODD = [
    b"M\xfcller.png",
    b"line\nbreak.png",
    b"[x]*?.png",
    "u\u0308.PNG".encode(),
    b" 'a' \"b\".jpg ",
]


def test_any_file_name_is_found_counted_and_shown(data_folder, settings, picture):
    root = data_folder(ROWS)
    for name in ODD:
        (root / "images" / os.fsdecode(name)).write_bytes(picture())
    assert len(fingerprint(root)) == 32
    report = check_folder(str(root), settings)
    assert len(report.unlisted) == len(ODD) and not report.problems
    console = Console(file=io.StringIO(), width=200)
    console.print(render(report))
    text = console.file.getvalue()
    assert text.encode() and f"{len(ODD)} image files no row names" in text


def test_letters_of_one_or_two_characters_are_one_name(data_folder, settings, picture):
    root = data_folder([*ROWS, ("M\u00fcller.png", "Mass", "7")], content={"M\u00fcller.png": None})
    (root / "images" / "Mu\u0308ller.png").write_bytes(picture())  # as a Mac writes it
    assert not check_folder(str(root), settings).problems
    (root / "images" / "M\u00fcller.png").write_bytes(picture())
    (problem,) = check_folder(str(root), settings).problems
    assert problem.reason == "several_files"


@pytest.mark.parametrize("name", ["d[1]", "a*b?", "x 'y' \"z\"", "\u00fc{}$;&", "back\\slash"])
def test_any_folder_name_works(data_folder, settings, name):
    made = data_folder(ROWS)
    root = made.rename(made.with_name(name))
    assert len(find_folder(root).images) == 2 and fingerprint(root)
    assert check_folder(str(root), settings).images


@pytest.mark.parametrize("name", [b"M\xfcller", b"a\nb", b"tab\t", "\u2028".encode()])
def test_a_folder_name_that_breaks_messages_is_refused(data_folder, settings, name):
    made = data_folder(ROWS)
    root = made.rename(made.with_name(os.fsdecode(name)))
    link = made.with_name("link")
    link.symlink_to(root)
    for path in (root, link, root / "images" / ".."):
        for side in (fingerprint, find_folder, lambda p: check_cheaply(str(p), settings)):
            with pytest.raises(
                CxrflowError, match="has control characters or isn't UTF-8"
            ) as caught:
                side(path)
            assert str(caught.value).isprintable()


def test_an_image_that_cannot_be_opened_is_one_bad_image(data_folder, settings, monkeypatch):
    root = data_folder([*ROWS, ("00000003_000.png", "Mass"), ("00000004_000.png", "Mass")])
    (root / "images" / "00000003_000.png").unlink()
    (root / "images" / "00000003_000.png").symlink_to("00000003_000.png")
    real = open

    def refuse(path, *args, **kwargs):  # the tests run as root, whom the kernel refuses nothing
        if str(path).endswith("00000004_000.png"):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", refuse)
    problems = sorted(check_folder(str(root), settings).problems, key=lambda p: p.row)
    assert [(p.row, p.reason, p.detail) for p in problems] == [
        (4, "unreadable", "Too many levels of symbolic links"),
        (5, "unreadable", "Permission denied"),
    ]
    assert len(fingerprint(root)) == 32  # a run asks for it, and goes on as well


def test_a_folder_linked_twice_holds_its_images_once(data_folder, settings):
    root = data_folder(ROWS)
    (root / "images_001").mkdir()
    (root / "images_001" / "images").symlink_to("../images")
    (root / "images_x").symlink_to(".")
    assert find_folder(root).repeated == frozenset()
    assert not check_folder(str(root), settings).problems


@pytest.mark.parametrize("where", ["", "images"])
@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), FileNotFoundError(2, "Gone")]
)
def test_a_folder_that_cannot_be_listed(data_folder, settings, monkeypatch, where, error):
    root = data_folder(ROWS)
    scandir, listdir = os.scandir, os.listdir

    def refusing(real):
        def call(path):
            if Path(path) == root / where:
                raise error
            return real(path)

        return call

    monkeypatch.setattr(os, "scandir", refusing(scandir))
    monkeypatch.setattr(os, "listdir", refusing(listdir))
    for side in (fingerprint, find_folder, lambda p: check_folder(str(p), settings)):
        with pytest.raises(CxrflowError, match=f"can't be read: {error.strerror}"):
            side(root)


def test_images_that_vanish_between_listing_and_reading(data_folder, settings, monkeypatch):
    root = data_folder(ROWS)
    plan = make_plan(str(root), settings)
    for path in (root / "images").iterdir():
        path.unlink()
    monkeypatch.setattr("cxrflow.components.ingest.check.make_plan", lambda *_: plan)
    assert {p.reason for p in check_folder(str(root), settings).problems} == {"missing"}


def test_as_nobody_what_is_closed_to_others_is_one_line(data_folder, settings):
    """With the kernel's own refusals, in a child that gives up root."""
    if os.geteuid():
        pytest.skip("only root can become nobody")
    root = data_folder(ROWS)
    for path, mode, message in (
        (root, 0o700, "can't be read: Permission denied"),
        (root / "images", 0o700, "can't be read: Permission denied"),
        (root / "Data_Entry_2017.csv", 0o600, "can't be read: Permission denied"),
        (root / "images" / ROWS[0][0], 0o600, "unreadable"),
    ):
        before = path.stat().st_mode
        path.chmod(mode)
        answer = _as_nobody(lambda: _answer(root, settings), root)
        path.chmod(before)
        assert message in answer and "\n" not in answer


def _answer(root: Path, settings: dict) -> str:
    try:
        report = check_folder(str(root), settings)
    except CxrflowError as error:
        return str(error)
    return " ".join(f"{p.row} {p.reason}" for p in report.problems)


def _as_nobody(ask, root: Path) -> str:
    own = [parent for parent in root.parents if len(parent.parts) > 2]  # pytest's, closed to others
    modes = [parent.stat().st_mode for parent in own]
    try:
        for parent, mode in zip(own, modes, strict=True):
            parent.chmod(mode | 0o055)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.setgid(65534)
                os.setuid(65534)
                answer = ask()
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}\n"
            os.write(writing, answer.encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answers:
            answer = answers.read()
        os.waitpid(child, 0)
        return answer
    finally:
        for parent, mode in zip(own, modes, strict=True):
            parent.chmod(mode)


def test_a_manifest_stands_for_the_images_until_a_folder_changes(data_folder, monkeypatch, picture):
    root = data_folder(ROWS, images="images_001/images", test=[ROWS[0][0]])
    images = root / "images_001" / "images"
    for name in ODD:
        (images / os.fsdecode(name)).write_bytes(picture())
    (images / "00000009_000.png").symlink_to("00000009_000.png")
    before = find_folder(root), fingerprint(root)
    assert write_manifest(root) == len(before[0].images) == len(ODD) + len(ROWS) + 1
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", None)
        assert (find_folder(root), fingerprint(root)) == before

    (images / "00000003_000.png").write_bytes(picture())
    for side in (find_folder, fingerprint):
        with pytest.raises(CxrflowError, match=r"isn't of the images that are in images_001/imag"):
            side(root)
    assert write_manifest(root) == len(before[0].images) + 1
    assert fingerprint(root) != before[1]
    (root / "images").mkdir()  # a further folder
    with pytest.raises(CxrflowError, match=r"in images now: run .*manifest .* or delete it"):
        find_folder(root)
    write_manifest(root)
    manifest = root / "manifest.jsonl"
    for damaged in ("", "[]", manifest.read_text()[:-5], '{"images": 1'):
        manifest.write_text(damaged)
        with pytest.raises(CxrflowError, match=r"can't be read|isn't of the images"):
            fingerprint(root)
    manifest.unlink()
    assert len(find_folder(root).images) == len(before[0].images) + 1
