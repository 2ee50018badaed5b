import gzip
import shutil

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.components.ingest.split import assign_splits, unit_hash
from cxrflow.components.ingest.table import read_table
from cxrflow.schema.errors import CxrflowError

HASHED = dict(split="hash", eval_share=0.2, test_share=0.25, split_salt="salt")
AUTO = HASHED | {"split": "auto"}


def table(images: list[tuple[str, str]]) -> pd.DataFrame:
    rows = [(i, image, patient) for i, (image, patient) in enumerate(images, 2)]
    return pd.DataFrame(rows, columns=["row", "image_id", "patient_id"])


def lists(folder, train_val: list[str], test: list[str]):
    paths = folder / "train_val_list.txt", folder / "test_list.txt"
    for path, names in zip(paths, (train_val, test), strict=True):
        path.write_bytes("\r\n".join(names).encode())
    return paths


patients = st.lists(st.text("0123456789", min_size=1, max_size=4), min_size=1, max_size=60)


@given(patients, patients, st.text(max_size=5))
def test_no_patient_moves_when_images_are_added(before, added, salt):
    settings = HASHED | {"split_salt": salt}
    first, _ = assign_splits(
        table([(f"{i}.png", p) for i, p in enumerate(before)]), None, None, **settings
    )
    second, _ = assign_splits(
        table([(f"{i}.png", p) for i, p in enumerate([*added, *before])]), None, None, **settings
    )
    was = dict(zip(first["patient_id"], first["split"], strict=True))
    now = second.groupby("patient_id")["split"].unique()
    assert all(len(splits) == 1 for splits in now)
    assert all(now[patient][0] == split for patient, split in was.items())


def test_the_hash_is_the_same_for_ever():
    # Fixed numbers: another hash would move patients between training and test.
    assert unit_hash("13", "cxrflow/test") == pytest.approx(0.031187775927023154, abs=1e-12)


def test_shares_are_of_patients():
    rows, _ = assign_splits(
        table([(f"{i}.png", str(i)) for i in range(20_000)]), None, None, **HASHED
    )
    shares = rows["split"].value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.25, abs=0.01)
    assert shares["eval"] == pytest.approx(0.75 * 0.2, abs=0.01)


def test_another_salt_is_another_split():
    images = table([(f"{i}.png", str(i)) for i in range(200)])
    first, _ = assign_splits(images, None, None, **HASHED)
    second, _ = assign_splits(images, None, None, **HASHED | {"split_salt": "other"})
    assert (first["split"] != second["split"]).any()


def test_official_lists_decide_and_the_rest_is_reported(tmp_path):
    images = table([("a0.png", "1"), ("a1.png", "1"), ("b.png", "2"), ("c.png", "3")])
    paths = lists(tmp_path, ["a0.png", "a1.png", "gone.png"], ["b.png", ""])
    rows, problems = assign_splits(images, *paths, **AUTO)
    assert dict(zip(rows["image_id"], rows["split"], strict=True))["b.png"] == "test"
    assert set(rows.loc[rows["patient_id"] == "1", "split"]) <= {"train", "eval"}
    assert rows.loc[rows["patient_id"] == "1", "split"].nunique() == 1
    assert [(p.image, p.row, p.reason) for p in problems] == [("c.png", 5, "not_in_lists")]


def test_hash_ignores_the_lists(tmp_path):
    images = table([("a.png", "1"), ("b.png", "2")])
    rows, problems = assign_splits(images, *lists(tmp_path, ["a.png"], ["a.png"]), **HASHED)
    assert len(rows) == 2 and not problems


@pytest.mark.parametrize("form", ["images/{}.png", "{}", "{}.png,1", '"{}.png"', "\u00a0"])
def test_lists_that_name_no_image_of_the_table_are_refused(tmp_path, form):
    both = lists(tmp_path, [form.format("a")], [form.format("b")])
    with pytest.raises(CxrflowError, match="no image of the table is in train_val_list") as error:
        assign_splits(table([("a.png", "1"), ("b.png", "2")]), *both, **AUTO)
    assert f"'{form.format('a').strip()}' for example" in str(error.value)


def test_lists_that_share_are_refused(tmp_path):
    images = table([("a.png", "1"), ("b.png", "1"), ("c.png", "2")])
    with pytest.raises(CxrflowError, match=r"1 patients .* both official lists: 1"):
        assign_splits(images, *lists(tmp_path, ["a.png", "c.png"], ["b.png"]), **AUTO)
    with pytest.raises(CxrflowError, match=r"1 images are in both official lists: c.png"):
        assign_splits(images, *lists(tmp_path, ["a.png", "c.png"], ["c.png"]), **AUTO)


@pytest.mark.parametrize(
    ("have", "split", "message"),
    [
        ((0, 0), "official", "there is neither"),
        ((1, 0), "official", "only train_val_list.txt"),
        ((0, 1), "auto", "only test_list.txt"),
    ],
)
def test_a_missing_list_is_named(tmp_path, have, split, message):
    paths = lists(tmp_path, ["a.png"], ["b.png"])
    given_lists = [path if there else None for path, there in zip(paths, have, strict=True)]
    with pytest.raises(CxrflowError, match=message):
        assign_splits(table([("a.png", "1")]), *given_lists, **HASHED | {"split": split})


@pytest.mark.slow
def test_the_whole_data_set_splits_as_published(shared_dir, tmp_path):
    """112,120 rows: no shared patient and the official test list intact."""
    for name in ("Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt"):
        source = shared_dir / "data" / "labels" / f"{name}.gz"
        with gzip.open(source) as packed, (tmp_path / name).open("wb") as f:
            shutil.copyfileobj(packed, f)
    paths = tmp_path / "train_val_list.txt", tmp_path / "test_list.txt"
    read = read_table(tmp_path / "Data_Entry_2017_v2020.csv")
    official, unlisted = assign_splits(read.rows, *paths, **AUTO)
    hashed, _ = assign_splits(read.rows, *paths, **HASHED)

    assert not read.problems and not unlisted
    assert len(official) == len(hashed) == 112_120
    assert official["patient_id"].nunique() == 30_805
    for rows in (official, hashed):
        assert rows.groupby("patient_id")["split"].nunique().max() == 1
        assert set(rows["split"]) == {"train", "eval", "test"}
    in_test = official.loc[official["split"] == "test", "image_id"]
    assert set(in_test) == set(paths[1].read_text().split()) and len(in_test) == 25_596
    hernia = official["findings"].map(lambda names: "Hernia" in names)
    assert hernia.sum() == 227
