"""Which DICOM files a folder has, and what their headers say; no pixels are read."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cxrflow.components.ingest.quarantine import Reason
from cxrflow.components.ingest.source.settings import DICOM_SLICES
from cxrflow.components.ingest.source.walk import files_below
from cxrflow.schema.dicom.limits import DicomLimits
from cxrflow.schema.dicom.render import is_dicom, read_header
from cxrflow.schema.image_rules import BadImage

if TYPE_CHECKING:
    from cxrflow.schema.dicom.header import Elements

PREFIX = "dicom:"  # of columns that are elements of the header
_TEXTS = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID", "IssuerOfPatientID"),
    *("PatientAge", "PatientBirthDate", "StudyDate", "PatientSex", "AccessionNumber"),
    *DICOM_SLICES,
)
_START = 132  # bytes that tell a DICOM
_THREADS = 8  # more than cores: cold disks answer slowly
# What other things lie in such folders.
_OTHER = (
    *(".csv", ".tsv", ".gz", ".parquet", ".yaml", ".yml", ".txt", ".key", ".json", ".md"),
    "dicomdir",  # an index of the others
)
_DEAD = "a link that leads to no file"


@dataclass(frozen=True)
class DicomFile:
    """A file, and why it stays out of the run, if it does."""

    path: str  # relative to the folder, with "/"
    values: Mapping[str, str] = field(default_factory=dict)  # by "dicom:KEYWORD"
    reason: str = ""  # of `quarantine.Reason`
    detail: str = ""


def find_dicoms(folder: Path) -> list[DicomFile]:
    """All DICOM files in a folder and below, in the order of their paths.

    Raises:
        CxrflowError: a folder can't be read.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        files = sorted(path for path in files_below(folder) if not path.lower().endswith(_OTHER))
        found = threads.map(lambda path: _look(folder, path), files)
        return [one for one in found if one]


def _look(folder: Path, path: str) -> DicomFile | None:
    """What there is to know of a file; None if it is no DICOM."""
    whole = folder / path
    try:
        if not whole.is_file():
            dead = whole.is_symlink()  # such as git-annex leaves for what isn't fetched
            return DicomFile(path, {}, Reason.UNREADABLE.value, _DEAD) if dead else None
        with open(whole, "rb") as file:
            if not is_dicom(file.read(_START)):
                return None
        return _describe(path, read_header(whole, DicomLimits()))
    except OSError as error:
        return DicomFile(path, {}, Reason.UNREADABLE.value, str(error.strerror or error))
    except BadImage as error:
        return DicomFile(path, {}, Reason.BAD_DICOM.value, error.reason)


def _describe(path: str, header: "Elements") -> DicomFile:
    from cxrflow.schema.dicom import doubts

    values = {f"{PREFIX}{keyword}": header.text(keyword) for keyword in _TEXTS}
    values[f"{PREFIX}ViewPosition"] = doubts.view_of(header)
    reasons = {
        doubts.NO_XRAY: Reason.OTHER_MODALITY,
        doubts.NO_CHEST: Reason.OTHER_BODY_PART,
        doubts.NO_FRONTAL: Reason.NOT_FRONTAL,
        doubts.RAW: Reason.FOR_PROCESSING,
    }
    if found := doubts.doubt_header(header):
        reason = reasons[doubts.kind_of(found[0])].value
        return DicomFile(path, values, reason, "; ".join(found))
    if header.integer("Rows") <= 0:
        known = values if values[f"{PREFIX}SOPInstanceUID"] else {}
        return DicomFile(path, known, Reason.BAD_DICOM.value, "DICOM without an image")
    if "YES" in header.words("BurnedInAnnotation"):
        detail = "its header says that its pixels name the patient (Burned In Annotation)"
        return DicomFile(path, values, Reason.BURNED_IN.value, detail)
    return DicomFile(path, values)
