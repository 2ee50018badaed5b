"""Cards of runs that know much, little, or something awkward."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.metadata import version

import numpy as np
import pytest

from cxrflow.components.card.cost import Training
from cxrflow.components.card.data import SplitCounts
from cxrflow.components.card.evidence import Evidence, Outputs
from cxrflow.components.card.figures import (
    ClassFigures,
    Figures,
    Floor,
    Scores,
    Subgroup,
    read_figures,
)
from cxrflow.components.card.metadata import metadata
from cxrflow.components.card.render import to_html, to_markdown
from cxrflow.components.card.sbom import bill_of_materials
from cxrflow.components.card.settings import CardConfig, CardSettings
from cxrflow.components.card.shortcuts import Shortcut, shortcuts
from cxrflow.components.card.write import write_card
from cxrflow.components.evaluate.results import ClassResult
from cxrflow.components.localise.report import Figure, LeftOut, Localisation
from cxrflow.components.score.files import Scores as ModelScores
from cxrflow.components.score.files import Table, write_scores
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.metadata_json import classes_of, metadata_faults
from cxrflow.schema.model_json import Member, ModelJson, OutOfDistribution

NAN = float("nan")


def scores(name: str, positives: int = 40, auc: float | None = 0.7) -> Scores:
    return Scores(name, positives, 200 - positives, auc, 0.4, 0.12, 0.05, 0.09, 0.14)


PLAIN = Figures(
    name="ensemble",
    split="test",
    blessed=False,
    reasons=("Mass: AUC 0.450, 0.500 needed",),
    synthetic=False,
    classes=(
        ClassFigures(scores("Effusion"), "pass", ""),
        ClassFigures(scores("Mass", 5, None), "not gated", "5 positives in the test split"),
    ),
    mean_auc=0.7,
    slices={
        "split=test,view=AP": (scores("Effusion", 20, 0.6), scores("Mass", 3, 0.1)),
        "split=eval,view=AP": (scores("Effusion", 20, 0.9), scores("Mass", 3, 0.9)),
    },
)
JUDGED = replace(
    PLAIN,
    blessed=True,
    reasons=(),
    summary="Blessed: better than the probe.",
    judged_by=("AUC, patients resampled",),
    not_judged=("Mass: too few",),
    images=200,
    patients=150,
    classes=(
        ClassFigures(
            scores("Effusion"), "passed", "", Figure(0.712, 0.65, 0.77), positive_patients=31
        ),
        PLAIN.classes[1],
    ),
    floor=(Floor("metadata", 0.58, 0.71, Figure(0.13, 0.05, 0.2), beaten=True),),
    subgroups=(
        Subgroup(
            "sex", "F", 90, 70, "passed", "", Figure(0.69, 0.6, 0.8), Figure(-0.02, -0.1, 0.1)
        ),
    ),
)
BARE = Evidence(
    info=ModelJson(
        ("Effusion", "Mass"),
        name="ensemble",
        image_size=224,
        members=(Member("attention", "MobileNet", "attention", 1.0),),
        thresholds={
            "Effusion": {
                "youden": {"threshold": 0.31, "sensitivity": 0.8, "specificity": 0.6},
                "specificity": None,
            },
            "Mass": None,
        },
        data="d1",
        code="c1",
    ),
    figures=PLAIN,
    splits=(),
    trainings=(),
    quarantine=None,
    ensemble=None,
    localisation=None,
    settings=CardSettings(card=CardConfig(), cohort="all"),
    versions={"cxrflow": "0.1.0", "tensorflow": "2.21.0", "numpy": "2"},
    outputs=Outputs(()),
)


def test_the_parent_is_named_with_what_matched_and_what_did_not():
    start = (
        "4 of 6 backbone layers (444 of 596 weights) are those of cxrflow 7 (saved_model.pb "
        "0123456789ab); not in it, or of another shape: conv2, bn2; the head is new"
    )
    own, new = Training("attention", 3, 60, 700, 150, start), Training("other", 3, 60, 700, 150)
    card = to_markdown(replace(BARE, trainings=(own, new)))
    assert f"attention started from another model: {start}." in card
    assert card.count("started from another model") == 1
    assert "saved_model.pb 0123456789ab" in to_html(card)
    assert "started from another model" not in to_markdown(replace(BARE, trainings=(new,)))


def test_what_a_run_does_not_know_is_said_in_words():
    card = to_markdown(BARE)
    for said in (
        "The gate did not bless this model: of 2 classes 1 passed, 0 failed, and 1 could not",
        "- Mass: AUC 0.450, 0.500 needed",
        "This run gave no intervals.",
        "This run computed no baseline",
        "How far age, sex and view alone would come wasn't computed",
        "The data have no radiologists' boxes",
        "The trainings' logs aren't there.",
        "- Mass: 5 positive test images",
        "Not a medical device.",
    ):
        assert said in " ".join(card.split()), said
    assert "synthetic" not in card.lower()
    assert "| Effusion | 40 | – | 0.700 | 0.400 | 0.050 | 0.120 | pass |" in card
    assert "| Mass | 5 | – | – | 0.400 |" in card
    assert "| Effusion | youden | 0.310 | 0.800 | 0.600 |" in card
    # A group's mean counts the classes with enough of both kinds, of the split that decides.
    assert "| view=AP | 1 | 0.600 |" in card and "0.9" not in card


def test_what_the_gate_knows_is_told_with_its_intervals():
    card = to_markdown(replace(BARE, figures=JUDGED))
    for said in (
        "Blessed: better than the probe.",
        "200 images of 150 patients",
        "| Effusion | 40 | 31 | 0.712 (0.650 to 0.770) |",
        "| age, sex and view alone | 0.580 | 0.710 | 0.130 (0.050 to 0.200) | yes |",
        "Age, sex and view alone, without a pixel, reach a mean AUC of 0.580 on eval; the model",
        "| sex F | 90 | 70 | 0.690 (0.600 to 0.800) | -0.020 (-0.100 to 0.100) | passed |",
        "- Not judged: Mass: too few",
        "Intervals are 95 %, patients resampled.",
    ):
        assert said in card, said


def test_shortcuts_stand_beside_the_model(tmp_path):
    assert shortcuts(tmp_path / "gone", "test", ()) == ()
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], np.uint8)
    by_age = np.array([[0.9, 0.1], [0.4, 0.1], [0.5, 0.1], [0.2, 0.1]], np.float32)
    text = np.array(list("abcd"))
    images = Table(text, text, np.arange(4), text, text, text, labels)
    write_scores(
        [ModelScores("metadata", ("Effusion", "Mass"), "test", False, images, by_age)], tmp_path
    )
    found = shortcuts(tmp_path, "test", [item.result for item in PLAIN.classes])
    # Of four pairs of a positive and a negative, three are in order; Mass has no positive.
    assert found == (Shortcut("Effusion", 0.75, 0.7), Shortcut("Mass", None, None))
    card = to_markdown(replace(BARE, shortcuts=found))
    assert "| Effusion | 0.750 | 0.700 |" in card and "| Mass | – | – |" in card
    (tmp_path / "metadata" / "test.npz").write_bytes(b"no archive")
    with pytest.raises(CxrflowError, match="can't be read"):
        shortcuts(tmp_path, "test", ())


def test_data_members_cost_and_maps_are_told():
    counts = {"Effusion": 70, "Mass": 9}
    left = LeftOut(3, "the box lies outside its image", ("a.png",))
    full = replace(
        BARE,
        splits=(SplitCounts("train", 1200, 900, 0.44, 0.61, 0.3, (3, 51.5, 90), counts),),
        trainings=(Training("attention", 12, 90.0, 291966, 285726),),
        quarantine={"rows": 1844, "set_aside": 2, "reasons": {"corrupt": 2}},
        ensemble={
            "chosen": "weighted",
            "scores": {
                split: {"attention": {"Effusion": 0.6, "Mass": None}, "weighted": {"Effusion": 0.7}}
                for split in ("eval", "test")
            },
        },
        localisation=Localisation(
            "ensemble", False, "test", "b.csv", "class", (0, 0), (60, 180), 9, (), (left,)
        ),
    )
    card = to_markdown(full)
    for said in (
        "| images | 1,200 |",
        "| median age (range) | 51.5 (3 to 90) |",
        "| Effusion | 70 |",
        "2 of 1,844 rows were set aside (2 corrupt).",
        "| attention | MobileNet | attention | 1.00 | 285,726 | 291,966 |",
        "| attention | 12 | 1.5 |",
        "| weighted (this model) | 0.700 | 0.700 |",
        "None of the listed boxes lies on an X-ray of the test split",
        "- Left out: 3 boxes, the box lies outside its image.",
    ):
        assert said in card, said


def test_synthetic_x_rays_say_so_first():
    synthetic = replace(BARE, info=replace(BARE.info, synthetic=True))
    card = to_markdown(synthetic)
    assert "synthetic X-rays" in card[:200]
    assert "NIH" not in card
    assert metadata(synthetic)["synthetic"] is True
    assert "synthetic" in metadata(synthetic)["data_source"]


class Tags(HTMLParser):
    """The tags of a page that are open at its end, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.cells = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)
        self.cells += tag == "td"
        self.loads += [v or "" for name, v in attributes if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing():
    page = to_html(to_markdown(replace(BARE, figures=JUDGED)))
    tags = Tags()
    tags.feed(page)
    assert not tags.open and not tags.loads and tags.cells > 30
    assert re.search(r'<th scope="col"[^>]*>AUC</th>', page)
    assert "Pleural_Thickening" in to_html("# x\n\nPleural_Thickening and_more_")


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a | b", "a\n# b"])
def test_what_people_say_is_text(text):
    said = CardSettings(card=CardConfig(authors=text, intended_use=text), cohort="all")
    card = to_markdown(replace(BARE, settings=said))
    assert "<script" not in to_html(card)
    assert "\n# b" not in card
    assert "a | b" not in card


@pytest.mark.parametrize("attention", [(), (7, 7), (7, 7, 2)])
def test_metadata_is_of_the_schema(attention):
    fields = metadata(replace(BARE, outputs=Outputs(attention), figures=JUDGED))
    assert metadata_faults(json.dumps(fields, allow_nan=False)) == []
    assert classes_of(fields) == ("Effusion", "Mass")
    assert ("attention_data_format" in fields) == bool(attention)
    if attention:
        spread = fields["attention_data_format"]["outputs"]["attention"]
        assert spread["num_channels"] == (2 if len(attention) == 3 else 1)
        assert spread["spatial_shape"] == [7, 7]
    effusion, mass = (fields["eval_metrics"]["classes"][n] for n in ("Effusion", "Mass"))
    assert effusion["auc_interval"] == [0.65, 0.77]
    assert (mass["auc"], mass["auc_interval"]) == (None, None)


def test_metadata_promise_the_score_of_what_is_no_chest_x_ray():
    info = replace(BARE.info, out_of_distribution=OutOfDistribution(301.5))
    fields = metadata(replace(BARE, info=info, outputs=Outputs((7, 7)), figures=JUDGED))
    assert metadata_faults(json.dumps(fields, allow_nan=False)) == []
    for name in ("serving_data_format", "attention_data_format"):
        unlike = fields[name]["outputs"]["out_of_distribution"]
        assert (unlike["spatial_shape"], unlike["num_channels"]) == ([], 1)
        assert "301.5" in unlike["channel_def"]["0"]
    assert "out_of_distribution" not in fields["network_data_format"]["outputs"]


def test_monai_s_own_required_fields_are_there():
    """Those of meta_schema_20240725.json, copied by hand."""
    fields = metadata(BARE)
    texts = "schema version monai_version pytorch_version numpy_version task description authors"
    assert all(isinstance(fields[name], str) and fields[name] for name in texts.split())
    assert isinstance(fields["copyright"], str)
    assert isinstance(fields["required_packages_version"], dict)
    tensors = [
        tensor
        for name, found in fields.items()
        if name.endswith("_data_format")
        for way in ("inputs", "outputs")
        for tensor in found[way].values()
    ]
    for tensor in tensors:
        kinds = (str, str, int, list, str, list)
        names = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range")
        assert all(isinstance(tensor[n], kind) for n, kind in zip(names, kinds, strict=True))


def test_the_bill_of_materials_names_what_is_installed():
    text = bill_of_materials()
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "cxrflow"
    found = {one["name"].lower(): one for one in bill["components"]}
    assert found["numpy"]["version"] == version("numpy")
    assert found["numpy"]["purl"] == f"pkg:pypi/numpy@{version('numpy')}"
    assert text == bill_of_materials()  # a card that is the same makes no new version
    assert "timestamp" not in bill["metadata"]


def test_all_files_are_written(tmp_path):
    written = write_card(BARE, tmp_path / "card")
    names = ["model_card.md", "model_card.html", "metadata.json", "sbom.cdx.json"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in (tmp_path / "card").iterdir()) == sorted(names)


def test_figures_are_read_off_a_verdict(tmp_path):
    result = ClassResult("Mass", 3, 9, NAN, *[0.1] * 9)
    fields = {
        "name": "m",
        "split": "test",
        "blessed": False,
        "reasons": [],
        "synthetic": True,
        "classes": [
            {
                "result": {k: None if v != v else v for k, v in result.__dict__.items()},
                "status": "not gated",
                "reason": "few",
                "min_auc": 0.5,
            }
        ],
        "mean_auc": None,
        "slices": {},
        "baseline": "",
    }
    (tmp_path / "verdict.json").write_text(json.dumps(fields))
    found = read_figures(tmp_path)
    assert found.classes[0].result.positives == 3 and found.classes[0].result.auc is None
    assert not found.has_intervals
    (tmp_path / "verdict.json").write_text("{}")
    with pytest.raises(CxrflowError, match="is not a verdict"):
        read_figures(tmp_path)
    with pytest.raises(CxrflowError, match="the gate hasn't run"):
        read_figures(tmp_path / "gone")
