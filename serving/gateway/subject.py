"""Who and what an image shows, by its header: for results that join its study, and for the audit.

Values are cleaned, since results inherit them: what breaks its type's rules is left out.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from cxrflow.schema.patients import identity
from cxrflow.schema.portable.label_table import BadValue
from cxrflow.schema.pseudonyms import Pseudonyms

UTF_8 = "ISO_IR 192"  # the character set of results, which has every name's letters
MAKER = "cxrflow"  # Manufacturer of what the gateway itself makes
_DATE, _TIME = re.compile(r"\d{8}"), re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_AGE = re.compile(r"(\d{1,3})([YMWD])")
_IN_A_YEAR = {"Y": 1, "M": 12, "W": 52, "D": 365}
_NAMES = ("PatientName", "ReferringPhysicianName")
_TEXTS = {  # and their most characters, PS3.5 table 6.2-1
    "PatientID": 64,
    "IssuerOfPatientID": 64,
    "AccessionNumber": 16,
    "StudyID": 16,
    "StudyDescription": 64,
}
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_OTHERS = (
    *("PatientBirthDate", "StudyDate", "StudyTime", "PatientSex", "PatientAge"),
    *("PatientOrientation", "BurnedInAnnotation", "SpecificCharacterSet"),
)
_KEYWORDS = [*_NAMES, *_TEXTS, *_UIDS, *_OTHERS]


@dataclass(frozen=True)
class Subject:
    """What results inherit."""

    header: Dataset  # with every element that an SR wants, empty where it isn't known; UTF-8
    age: int | None  # years
    sex: str | None  # M, F or O

    def patient(self) -> tuple[str, str]:
        """Who it is: Patient ID and its issuer."""
        return str(self.header.PatientID), str(self.header.get("IssuerOfPatientID", ""))

    def pseudonym(self, names: Pseudonyms) -> str | None:
        """The patient's, as ingest gives it; None without an id that means one."""
        said, issuer = self.patient()
        try:
            who = identity(said)
        except BadValue:
            return None
        return names.of("patient", f"{who}\0{issuer}" if issuer else who)


def read_subject(path: Path) -> Subject:
    """What a file's header says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = dcmread(path, stop_before_pixels=True, specific_tags=_KEYWORDS, force=True)
        texts = {keyword: _text(found, keyword) for keyword in _KEYWORDS}
    header = Dataset()
    header.SpecificCharacterSet = UTF_8
    for keyword in _UIDS:
        setattr(header, keyword, texts[keyword])
    for keyword in _NAMES:
        setattr(header, keyword, _name(texts[keyword]))
    for keyword, most in _TEXTS.items():
        text = texts[keyword]
        if text or keyword not in ("IssuerOfPatientID", "StudyDescription"):
            setattr(header, keyword, text if len(text) <= most else "")
    for keyword in ("PatientBirthDate", "StudyDate"):
        setattr(header, keyword, texts[keyword] if _DATE.fullmatch(texts[keyword]) else "")
    header.StudyTime = texts["StudyTime"] if _TIME.fullmatch(texts["StudyTime"]) else ""
    sex = texts["PatientSex"].upper()
    header.PatientSex = sex if sex in ("M", "F", "O") else ""
    sides = texts["PatientOrientation"].split("\\")
    if len(sides) == 2 and all(re.fullmatch("[APRLHF]{1,3}", side) for side in sides):
        header.PatientOrientation = sides
    if texts["BurnedInAnnotation"] in ("YES", "NO"):
        header.BurnedInAnnotation = texts["BurnedInAnnotation"]
    return Subject(header, _age(texts), header.PatientSex or None)


def _age(texts: dict[str, str]) -> int | None:
    if match := _AGE.fullmatch(texts["PatientAge"].upper()):
        return int(match[1]) // _IN_A_YEAR[match[2]]
    born, examined = texts["PatientBirthDate"], texts["StudyDate"]
    if not (_DATE.fullmatch(born) and _DATE.fullmatch(examined)):
        return None
    years = int(examined[:4]) - int(born[:4]) - (examined[4:] < born[4:])
    return years if 0 <= years <= 150 else None


def _text(dataset: Dataset, keyword: str) -> str:
    """An element as one line; several values are separated by a backslash."""
    try:
        value = dataset.get(keyword, "")
    except Exception:  # pydicom raises nearly anything for what breaks the rules
        return ""
    values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    if keyword in _NAMES:
        values = [value]
    text = "\\".join(str(one) for one in values if one is not None)
    return "".join(letter for letter in text if letter.isprintable()).strip()


def _name(text: str) -> str:
    """A person name of PS3.5 section 6.2: at most three groups of 64 characters."""
    groups = text.split("=")
    if "\\" in text or len(groups) > 3 or any(len(group) > 64 for group in groups):
        return ""
    return text


def add_patient(result: Dataset, header: Dataset) -> None:
    """What a result has of its study beside what highdicom copies."""
    for keyword in ("IssuerOfPatientID", "StudyDescription"):
        if keyword in header:
            setattr(result, keyword, header.get(keyword))
