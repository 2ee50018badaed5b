"""What speaks against a DICOM: carried as notes, refused where that is asked for."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from typer.testing import CliRunner

from cxrflow.schema.dicom.limits import DicomLimits
from cxrflow.schema.dicom.render import read_dicom
from cxrflow.schema.image_rules import BadImage, ImageLimits
from cxrflow.serving.client.images import read_image
from cxrflow.serving.client.settings import ClientConfig
from tests.serving.dicoms import write_dicom

SIDE = 64
# Like an X-ray: every level, most of them in the middle.
PIXELS = np.random.default_rng(0).normal(2048, 700, (SIDE, SIDE)).clip(0, 4095).astype(np.uint16)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def doubts(path, **limits):
    return read_dicom(path, ImageLimits(), replace(DicomLimits(), **limits)).doubts


def code(value: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return Sequence([item])


ORDINARY = [
    {},
    {"Modality": None},
    {"Modality": ""},
    {"Modality": "CR", "BodyPartExamined": "CHEST", "ViewPosition": "PA"},
    {"Modality": "RG", "BodyPartExamined": "THORAX", "ViewPosition": "AP"},
    {"Modality": "OT", "BodyPartExamined": "", "ViewPosition": ""},
    {"BodyPartExamined": "PORT CHEST", "ViewPosition": "AP SUPINE"},
    {"BodyPartExamined": "chest", "ViewPosition": "pa"},
    {"BodyPartExamined": "TORAX", "ViewPosition": "PA ERECT"},
    {"BodyPartExamined": "CHEST_TO_ABDOMEN", "ViewPosition": "FRONTAL"},
    {"BodyPartExamined": "LUNG", "ViewPosition": "STANDING"},
    {"BodyPartExamined": "UNKNOWN", "ViewPosition": "UNKNOWN"},
    {"BodyPartExamined": "-", "ViewPosition": "-"},
    {"AnatomicRegionSequence": code("816094009", "Chest")},
    {"AnatomicRegionSequence": code("T-D3000", "Brust")},
    {"ViewCodeSequence": code("272479007", "postero-anterior")},
    {"ViewCodeSequence": code("399348003", "antero-posterior")},
    {"PatientOrientation": ["L", "F"], "Laterality": "U"},
    {"PatientOrientation": ["R", "F"]},
    # What the view says goes before how the rows run.
    {"PatientOrientation": ["A", "F"], "ViewPosition": "PA"},
    {"PresentationIntentType": "FOR PRESENTATION"},
]


@pytest.mark.parametrize("elements", ORDINARY, ids=str)
def test_an_ordinary_chest_xray_carries_no_note(tmp_path, elements):
    picture = read_dicom(
        write_dicom(tmp_path / "a.dcm", PIXELS, 12, **WINDOW, **elements),
        ImageLimits(),
        DicomLimits(),
    )
    assert picture.doubts == () and picture.notes == ()


DOUBTED = [
    ({"Modality": "CT"}, "modality CT"),
    ({"Modality": "MG"}, "modality MG"),
    ({"Modality": "XA"}, "modality XA"),
    ({"BodyPartExamined": "HAND"}, "shows HAND"),
    ({"BodyPartExamined": "ABDOMEN"}, "shows ABDOMEN"),
    ({"BodyPartExamined": "THORACIC SPINE"}, "shows THORACIC SPINE"),
    ({"BodyPartExamined": "TSPINE"}, "shows TSPINE"),
    ({"BodyPartExamined": "RIBS"}, "shows RIBS"),
    ({"BodyPartExamined": "SKULL" * 20}, "shows SKULLSKULL"),
    ({"AnatomicRegionSequence": code("85562004", "Hand")}, "shows HAND"),
    ({"ViewPosition": "LL"}, "a view LL"),
    ({"ViewPosition": "RL"}, "a view RL"),
    ({"ViewPosition": "LATERAL"}, "a view LATERAL"),
    ({"ViewPosition": "LAT"}, "a view LAT"),
    ({"ViewPosition": "Left Lateral"}, "a view LEFT LATERAL"),
    ({"ViewPosition": "LAO"}, "a view LAO"),
    ({"ViewPosition": "PA OBLIQUE"}, "a view PA OBLIQUE"),
    ({"ViewPosition": "LLD"}, "a view LLD"),
    ({"ViewCodeSequence": code("399173006", "left lateral")}, "a view LEFT LATERAL"),
    ({"PatientOrientation": ["A", "F"]}, "a view of rows towards A"),
    ({"PatientOrientation": ["P", "F"]}, "a view of rows towards P"),
    ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING"),
    ({"SOPClassUID": PROCESSING}, "FOR PROCESSING"),
]


@pytest.mark.parametrize(("elements", "doubt"), DOUBTED, ids=[doubt for _, doubt in DOUBTED])
def test_what_is_no_frontal_chest_xray_is_doubted(tmp_path, elements, doubt):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, 12, **WINDOW, **elements)
    found = doubts(path)
    assert len(found) == 1 and doubt in found[0] and len(found[0]) < 160
    image = read_image(path, ClientConfig())
    assert image.notes == found and image.dicom is not None
    with pytest.raises(BadImage, match="refused by --strict: DICOM ") as refused:
        read_image(path, ClientConfig(strict=True))
    assert found[0] in refused.value.reason


@pytest.mark.parametrize("wrong", [{"Columns": SIDE - 1}, {"Rows": SIDE - 1}])
def test_more_bytes_than_pixels_are_a_doubt(tmp_path, wrong):
    """With a wrong number of columns every row is shifted against the one before."""
    found = doubts(write_dicom(tmp_path / "a.dcm", PIXELS, 12, **WINDOW, **wrong))
    assert len(found) == 1 and "holds 128 bytes more than" in found[0]
    assert not doubts(write_dicom(tmp_path / "b.dcm", PIXELS[:-1, :-1], 12, **WINDOW))


def test_several_doubts_are_all_named(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", PIXELS, 12, **WINDOW, Modality="MR", BodyPartExamined="KNEE"
    )
    assert len(doubts(path)) == 2
    with pytest.raises(BadImage, match=r"modality MR.*; .*shows KNEE"):
        read_image(path, ClientConfig(strict=True))


def test_strict_lets_notes_about_the_making_pass(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", PIXELS, 12, WindowCenter=[2048, 1], WindowWidth=[4096, 1]
    )
    assert read_image(path, ClientConfig(strict=True)).notes == (
        "DICOM has 2 windows: the first is shown",
    )


def two_values(share: float) -> np.ndarray:
    """Values from 0 to 4095, but for a share of pixels near 0, each of another value."""
    pixels = PIXELS.copy()
    count = round(share * pixels.size)
    pixels.ravel()[:count] = np.arange(count) % 200
    return pixels


LOOKS = {
    # Pixels and window, then what is noted.
    "nearly black": (two_values(0.9), WINDOW, "is nearly black: 90% of its pixels"),
    "dark by 80 %": (two_values(0.8), WINDOW, ""),
    "nearly white": (4095 - two_values(0.9), WINDOW, "is nearly white: 90% of its pixels"),
    "bright by 80 %": (4095 - two_values(0.8), WINDOW, ""),
    "flat": (PIXELS // 40 + 2000, WINDOW, "has hardly any contrast"),
    "clipped": (PIXELS, {"WindowCenter": 2048, "WindowWidth": 200}, "loses 89%"),
    "clipped on one side": (PIXELS, {"WindowCenter": 4000, "WindowWidth": 3000}, "loses"),
    "clipped by a third": (PIXELS, {"WindowCenter": 2048, "WindowWidth": 1400}, ""),
    # A collimator's shutter, of one value, loses nothing.
    "shutter": (np.where(np.arange(SIDE) < 40, 0, PIXELS).astype(np.uint16), WINDOW, ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", LOOKS)
def test_pictures_that_show_little_are_doubted(tmp_path, kind):
    pixels, window, doubt = LOOKS[kind]
    found = " ".join(doubts(write_dicom(tmp_path / "a.dcm", pixels, 12, **window)))
    assert doubt in found and (doubt or not found)


@pytest.mark.parametrize("window", [{"WindowCenter": 20000, "WindowWidth": 400}, {}])
def test_a_picture_of_one_level_is_refused(tmp_path, window):
    pixels = PIXELS if window else PIXELS * 0 + 7
    with pytest.raises(BadImage, match="DICOM shows nothing: all its pixels have one gray level"):
        doubts(write_dicom(tmp_path / "a.dcm", pixels, 12, **window))


def test_limits_of_the_picture_are_settings(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", two_values(0.8), 12, **WINDOW)
    assert not doubts(path)
    assert "nearly black: 8" in doubts(path, max_dark=0.7)[0]


def test_padding_counts_for_nothing(tmp_path):
    pixels = PIXELS.copy()
    pixels[:60] = 0
    path = write_dicom(tmp_path / "a.dcm", pixels, 12, **WINDOW)
    assert "nearly black" in doubts(path)[0]
    assert not doubts(write_dicom(tmp_path / "b.dcm", pixels, 12, PixelPaddingValue=0, **WINDOW))


OVERLAY = {0x60000100: ("US", 16), 0x60000102: ("US", 12)}


@pytest.mark.parametrize(
    ("pixels", "elements", "spills"),
    [
        (PIXELS | 0xF000, {}, True),
        (PIXELS | 0x1000, {}, True),
        (PIXELS | 0x1000, OVERLAY, False),
        (PIXELS << 4 | 3, {0x00280102: ("US", 15)}, True),
        (PIXELS << 4, {0x00280102: ("US", 15)}, False),
        ((PIXELS.astype(int) - 2048).astype(np.int16), {}, False),  # signs go on above
        ((PIXELS.astype(int) - 2048).astype(np.int16) ^ 0x1000, {}, True),
    ],
)
def test_bits_outside_those_stored_do_not_go_unseen(tmp_path, pixels, elements, spills):
    from pydicom import dcmread

    center = 0 if pixels.dtype == np.int16 else 2048
    path = write_dicom(tmp_path / "a.dcm", pixels, 12, WindowCenter=center, WindowWidth=4096)
    file = dcmread(path)
    for tag, (vr, value) in elements.items():
        file.add_new(tag, vr, value)
    file.save_as(path)
    found = doubts(path)
    assert ["outside the 12" in doubt for doubt in found] == [True] * spills


@pytest.mark.parametrize("options", [[], ["--strict"]])
def test_command_line_asks_for_it(monkeypatch, options):
    """`predict --strict`: a refused file is a failed one, and the exit code 1."""
    import cxrflow.pipeline.cli.serving
    import cxrflow.pipeline.predict
    from cxrflow.pipeline.cli.app import app

    asked = []

    def ask(images, config, format_, resume):
        asked.append(config.strict)
        return 1  # failed

    monkeypatch.setattr(cxrflow.pipeline.predict, "predict", ask)
    done = CliRunner().invoke(app, ["predict", "xray.dcm", *options])
    assert done.exit_code == 1 and asked == [bool(options)]
