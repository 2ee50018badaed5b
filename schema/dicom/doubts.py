"""Whether a DICOM is a frontal chest X-ray, by its header, and fit to be judged, by its picture.

The model knows NIH's frontal chest X-rays and nothing else, and answers whatever it is shown. An
absent or empty element says nothing and raises no doubt; neither do words that aren't known.
"""

import re

import numpy as np

from cxrflow.schema.dicom.gray import Picture
from cxrflow.schema.dicom.header import Elements
from cxrflow.schema.dicom.limits import DicomLimits
from cxrflow.schema.image_rules import BadImage

NO_XRAY = "modality {}: the model knows only chest X-rays"
NO_CHEST = "shows {}: the model knows only the chest"
NO_FRONTAL = "is a view {}: the model knows only frontal ones (PA, AP)"
RAW = "is raw data FOR PROCESSING: the model knows processed X-rays"
DARK = "is nearly black: {:.0%} of its pixels"
BRIGHT = "is nearly white: {:.0%} of its pixels"
FLAT = "has hardly any contrast: 90 % of its pixels lie within {} of 256 levels"
CLIPPED = "loses {:.0%} of its pixels to black and white, beyond the ends of its window"
CONSTANT = "shows nothing: all its pixels have one gray level"

# OT is what converters write that don't know.
_XRAYS = ("CR", "DX", "RG", "DR", "OT")
_RAW_CLASS = "1.2.840.10008.5.1.4.1.1.1.1.1"  # Digital X-Ray Image Storage - For Processing
_CHEST = re.compile(
    r"CHEST|THORAX|T[OÓ]RAX|THORACIC STRUCT|LUNG|PULMO|CXR|MEDIASTIN|HEART|BRUSTKORB|PECHO|POITRINE"
    r"|ГРУД|胸"
)
_SPINE = re.compile(r"SPINE|VERTEBR|RIB\b|RIBS\b|STERNUM|CLAVIC")
# CID 4009 and 4010 of PS3.16: SNOMED CT and its forerunner. Regions with the chest in them.
_CHEST_CODES = (
    *("816094009", "51185008", "T-D3000", "416550000", "416775004", "416152001", "417437006"),
    *("416319003", "39607008", "T-28000", "72410000", "80891009", "86598002"),
)
_FRONTAL_CODES = ("399033003", "399348003", "272479007", "R-10202", "R-10206", "R-10214", "R-40888")
_NOT_FRONTAL = re.compile(
    r"(LL|RL|LLO|RLO|LAO|RAO|LPO|RPO|LLD|RLD|LLAT|RLAT|ML|LM|MLO|LMO|CC|XCCL|AX"
    r"|LAT\w*|\w*OBL\w*|DECUB\w*|SAGITTAL\w*|AXIAL\w*|TANGENTIAL\w*|PROFIL\w*|SEITLICH\w*)"
)


def doubt_header(header: Elements) -> list[str]:
    """Why a header says that this is no frontal chest X-ray."""
    found = []
    modality = (header.words("Modality") or ["OT"])[0]
    if modality not in _XRAYS:
        found.append(NO_XRAY.format(_short(modality)))
    if region := _other_region(header):
        found.append(NO_CHEST.format(_short(region)))
    if view := _other_view(header):
        found.append(NO_FRONTAL.format(_short(view)))
    if "FOR PROCESSING" in header.words("PresentationIntentType") or (
        header.text("SOPClassUID") == _RAW_CLASS
    ):
        found.append(RAW)
    return found


def kind_of(doubt: str) -> str:
    """Which of the templates above a header's doubt was made from."""
    templates = (NO_XRAY, NO_CHEST, NO_FRONTAL, RAW)
    return next(one for one in templates if doubt.startswith(one.partition("{")[0]))


def view_of(header: Elements) -> str:
    """PA or AP where a header says so in the usual words; else what it says, or nothing."""
    said = " ".join(header.words("ViewPosition"))
    if not said:
        for item in header.items("ViewCodeSequence"):
            said = said or " ".join(item.words("CodeMeaning"))
    plain = re.sub(r"[^A-Z]+", " ", said).strip()
    for view, words in (("PA", "POSTERO ?ANTERIOR"), ("AP", "ANTERO ?POSTERIOR")):
        if re.match(rf"({view}|{words})\b", plain):
            return view
    return said


def doubt_picture(picture: Picture, limits: DicomLimits) -> list[str]:
    """Why a picture can't be judged.

    Raises:
        BadImage: it is constant.
    """
    shares = picture.levels / picture.levels.sum()
    if np.count_nonzero(picture.levels) == 1:
        raise BadImage(CONSTANT)
    up_to = shares.cumsum()
    spread = int(np.searchsorted(up_to, 0.95) - np.searchsorted(up_to, 0.05))
    dark, bright = up_to[limits.black], 1 - up_to[254 - limits.black]
    clipped = picture.clipped / picture.levels.sum()
    found = []
    if dark > limits.max_dark:
        found.append(DARK.format(dark))
    if bright > limits.max_bright:
        found.append(BRIGHT.format(bright))
    if not found and spread < limits.min_spread:
        found.append(FLAT.format(spread + 1))
    if clipped > limits.max_clipped:
        found.append(CLIPPED.format(clipped))
    return found


def _other_region(header: Elements) -> str:
    """The body part, if there is one and the chest isn't in it."""
    for item in header.items("AnatomicRegionSequence"):
        if item.text("CodeValue") in _CHEST_CODES:
            return ""
    part = " ".join(header.words("BodyPartExamined")) or " ".join(
        word
        for item in header.items("AnatomicRegionSequence")
        for word in item.words("CodeMeaning")
    )
    if not any(letter.isalpha() for letter in part) or part in ("UNKNOWN", "OTHER", "NONE", "N/A"):
        return ""
    return "" if _CHEST.search(part) and not _SPINE.search(part) else part


def _other_view(header: Elements) -> str:
    """The view, if there is one and it isn't frontal."""
    if view := " ".join(header.words("ViewPosition")):
        return view if _is_other_view(view) else ""
    for item in header.items("ViewCodeSequence"):
        meaning = " ".join(item.words("CodeMeaning"))
        if item.text("CodeValue") in _FRONTAL_CODES:
            return ""
        if meaning:
            return meaning if _is_other_view(meaning) else ""
    # C.7.6.1.1.1: rows of a lateral view run from front to back, or back to front.
    orientation = header.words("PatientOrientation")
    return f"of rows towards {orientation[0]}" if orientation and orientation[0] in "AP" else ""


def _is_other_view(view: str) -> bool:
    return any(_NOT_FRONTAL.fullmatch(word) for word in re.findall(r"\w+", view))


def _short(text: str) -> str:
    return text if len(text) <= 64 else f"{text[:61]}..."
