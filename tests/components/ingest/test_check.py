import json

import pytest

from cxrflow.components.ingest.check import check_folder, render
from cxrflow.components.ingest.quarantine import Problem, too_much, write_report

ROWS = [
    ("00000001_000.png", "Mass"),
    ("00000001_001.png", "Mass|Nodule"),
    ("00000002_000.png", "No Finding"),
    ("00000003_000.png", "Hernia"),
    ("00000004_000.png", "Nodule"),
]
TRAIN_VAL, TEST = [r[0] for r in ROWS[:3]], [r[0] for r in ROWS[3:]]


def shown(report) -> str:
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as captured:
        console.print(render(report))
    return captured.get()


@pytest.mark.parametrize("whole", [True, False])
def test_counts_worked_out_by_hand(data_folder, settings, whole):
    root = data_folder(ROWS, train_val=TRAIN_VAL, test=TEST)
    # Patients 1 and 2 are in the train_val list; this salt sends the first to train.
    report = check_folder(str(root), settings | {"split_salt": "s0"}, whole=whole)
    assert report.images == {"train": 2, "eval": 1, "test": 2}
    assert report.patients == {"train": 1, "eval": 1, "test": 2}
    assert report.positives["Mass"] == {"train": 2, "eval": 0, "test": 0}
    assert report.positives["Nodule"] == {"train": 1, "eval": 0, "test": 1}
    assert report.positives["Hernia"] == {"train": 0, "eval": 0, "test": 1}
    assert report.positives["No Finding"] == {"train": 0, "eval": 1, "test": 0}
    assert (report.rows, report.outside, report.shared_patients) == (5, 0, 0)
    assert report.split == "official" and not report.problems and report.stop is None
    assert "a run would accept this folder" in shown(report)


def test_everything_wrong_is_told_by_row(data_folder, settings, picture):
    flipped = bytearray(picture())
    flipped[60] ^= 1
    root = data_folder(
        [
            *ROWS,
            ("00000005_000.png", "Mass", "5", "300"),
            ("00000006_000.png", "Mass"),
            ("00000007_000.png", "Mass"),
            ("00000008_000.png", "Mass"),
        ],
        content={
            "00000006_000.png": None,
            "00000007_000.png": bytes(flipped),
            "00000008_000.png": b"",
            "00000009_000.png": picture(),
        },
    )
    report = check_folder(str(root), settings)
    assert [(p.row, p.reason) for p in sorted(report.problems, key=lambda p: p.row)] == [
        (7, "impossible_age"),
        (8, "missing"),
        (9, "corrupt"),
        (10, "empty"),
    ]
    assert report.unlisted == ["00000009_000.png"]
    assert report.stop.startswith("4 of 9 images are bad (44.4%, at most 1.0% may be): ")
    text = shown(report)
    assert "row 8: 00000006_000.png: no file of this name" in text
    assert "1 image files no row names, e.g. 00000009_000.png" in text

    headers = check_folder(str(root), settings, whole=False)
    assert len(headers.problems) == 3, "headers cannot show a flipped bit"


def test_a_name_in_two_folders_is_ambiguous(data_folder, settings, picture):
    root = data_folder(ROWS)
    (root / "images_001" / "images").mkdir(parents=True)
    (root / "images_001" / "images" / ROWS[0][0]).write_bytes(picture())
    (problem,) = check_folder(str(root), settings).problems
    assert (problem.row, problem.reason) == (2, "several_files")


def test_the_cohort_of_findings_leaves_out_all_others(data_folder, settings):
    root = data_folder(ROWS, train_val=TRAIN_VAL, test=TEST)
    report = check_folder(str(root), settings | {"cohort": "findings"})
    assert report.outside == 2  # No Finding, and Hernia, which is not among the classes
    assert sum(report.images.values()) == 3 and report.rows == 5
    none = check_folder(str(root), settings | {"cohort": "findings", "classes": ["Edema"]})
    assert "ingest.cohort=findings" in none.stop


def test_an_empty_split_stops_a_run(data_folder, settings):
    root = data_folder(ROWS, train_val=[r[0] for r in ROWS], test=["00000099_000.png"])
    assert (
        "no image for test (4 patients)"
        in check_folder(str(root), settings | {"split_salt": "s0", "eval_share": 0.5}).stop
    )


def test_published_counts_are_checked_for_real_data_only(data_folder, settings):
    root = data_folder(ROWS, table="sample_labels.csv")
    lines = check_folder(str(root), settings).broken_invariants
    assert lines == ["5 rows, the Kaggle sample has 5,606"]
    (root / "SYNTHETIC.json").write_text("{}")
    report = check_folder(str(root), settings)
    assert report.synthetic and not report.broken_invariants
    assert "synthetic" in shown(report)


def test_real_images_pass(shared_dir, settings):
    report = check_folder(str(shared_dir / "data" / "nih-raw"), settings)
    assert report.rows == 48 and not report.problems


def test_the_limit_is_a_share_of_all_rows():
    problems = [Problem("empty", "a.png", 2, ""), Problem("corrupt", "b.png", 3, "")]
    assert too_much(problems, 200, 0.01) is None  # 1 % exactly
    assert too_much(problems, 199, 0.01) == (
        "2 of 199 images are bad (1.0%, at most 1.0% may be): 1 empty, 1 corrupt"
    )
    assert too_much([], 0, 0.0) is None


def test_the_report_on_disk(tmp_path):
    problems = [Problem("empty", "b.png", 3, "0 bytes"), Problem("corrupt", "a.png", 2, 'say "x",')]
    path = write_report(problems, 10, tmp_path / "new" / "folder")
    assert path.read_text() == (
        'image,row,reason,detail\na.png,2,corrupt,"say ""x"","\nb.png,3,empty,0 bytes\n'
    )
    assert json.loads((path.parent / "summary.json").read_text()) == {
        "rows": 10,
        "set_aside": 2,
        "reasons": {"empty": 1, "corrupt": 1},
    }
    assert sorted(p.name for p in path.parent.iterdir()) == ["quarantine.csv", "summary.json"]
