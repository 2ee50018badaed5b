"""`cxrflow monitor --shadow` on a made log."""

import math

import pytest
from typer.testing import CliRunner

from cxrflow.pipeline.cli import monitor as command  # noqa: F401 (adds the command)
from cxrflow.pipeline.cli.app import app
from cxrflow.pipeline.reports.monitor.shadow import compare, share
from cxrflow.schema.shadow import Answer, Pair


def pair(first, second, number=0, version=2, flags=(False, False)):
    def answer(of, p, flag):
        decisions = {"Mass": p >= 0.5, "Edema": None}
        return Answer(of, {"Mass": p, "Edema": 0.1}, decisions, 3.0, flag)

    return Pair(
        f"2026-11-26T10:00:{number:02}.000Z",
        "cxrflow",
        "0" * 64,
        "youden",
        answer(1, first, flags[0]),
        answer(version, second, flags[1]),
        0.25,
    )


def write(path, *pairs):
    path.write_text("".join(f"{one.line()}\n" for one in pairs))
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["monitor", *map(str, arguments)])


def test_two_versions_are_compared_by_hand(tmp_path):
    log = write(
        tmp_path / "a",
        pair(0.9, 0.2, 0, version=9),  # of another version, before
        pair(0.1, 0.2, 1),
        pair(0.2, 0.6, 2),
        pair(0.7, 0.8, 3, flags=(False, True)),
        pair(0.6, 0.4, 4),
    )
    found = compare([log])
    assert (found.first, found.second, found.images) == (1, 2, 4)
    assert found.others == {"cxrflow 1 against 9 at youden": 1}
    mass, edema = found.classes
    assert mass.quantiles[1] == pytest.approx(0.1)  # of -.2, .1, .1, .4
    assert mass.largest == pytest.approx(0.4)
    assert (mass.decided, mass.added, mass.removed) == (4, 1, 1)
    assert mass.correlation == pytest.approx(0.8)  # ranks 1 2 4 3 against 1 3 4 2
    assert (edema.decided, edema.changed) == (0, 0) and math.isnan(edema.correlation)
    assert (found.images_changed, found.flags_changed, found.flagged) == (2, 1, 4)


def test_shares_have_wilsons_interval():
    found = share(2, 4)
    assert (found.low, found.high) == (
        pytest.approx(0.150, abs=5e-4),
        pytest.approx(0.850, abs=5e-4),
    )
    assert math.isnan(share(0, 0).value)


def test_the_command_prints_and_writes_a_page(tmp_path):
    log = write(tmp_path / "a", pair(0.2, 0.6, 1), pair(0.7, 0.8, 2))
    found = run("--shadow", log, "--to", tmp_path / "page")
    assert found.exit_code == 0, found.output
    assert "cxrflow: 2 asked beside 1, 2 images from" in found.stdout
    assert "1 of 2 decisions differ (1 more, 0 fewer)" in found.stdout
    assert "another decision on 1 of 2 images, 50.0% (9.5% to 90.5%)" in found.stdout
    page = (tmp_path / "page" / "shadow.html").read_text()
    assert "What would have been different?" in page and "Mass" in page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "can't be read: No such file"),
        ("", "no pair of answers; `cxrflow serve --shadow LABEL` writes them"),
        ("{}\n", "line 1 is no pair: time"),
        ("half a li", "no pair of answers"),
    ],
)
def test_bad_input_is_one_line(tmp_path, text, said):
    if text is not None:
        (tmp_path / "a").write_text(text)
    found = run("--shadow", tmp_path / "a")
    assert found.exit_code != 0 and said in str(found.exception)
    assert "\n" not in str(found.exception)
