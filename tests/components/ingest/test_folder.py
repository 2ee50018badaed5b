import os

import pytest

from components.ingest.folder import find_folder, fingerprint
from schema.errors import CxrflowError

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
