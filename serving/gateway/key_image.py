"""The key image: a Secondary Capture that every viewer shows, in the study of its X-ray."""

from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as published

from cxrflow.schema.pseudonyms import Pseudonyms
from cxrflow.serving.gateway.decide import Judged
from cxrflow.serving.gateway.drawing import draw
from cxrflow.serving.gateway.report import DISCLAIMER, made_by
from cxrflow.serving.gateway.settings import ResultsConfig
from cxrflow.serving.gateway.subject import add_patient

_DESCRIPTION = "Key images by cxrflow, not for diagnosis"


def build_key_image(
    image: Judged, number: int, names: Pseudonyms, config: ResultsConfig
) -> Dataset:
    """The key image of an X-ray that has findings, as it is sent.

    Args:
        image: with its picture and answer.
        number: of the image among its study's, from 1 on.
        names: gives the UIDs; the same image with the same answer always gets the same.
        config: series number, size and institution.
    """
    assert image.gray is not None and image.answer is not None
    header = image.subject.header
    made = SCImage(
        pixel_array=draw(image.gray, image.answer, config.key_image_side),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=header.get("PatientOrientation", ["L", "F"]),
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=names.uid("key image series", header.StudyInstanceUID),
        series_number=config.key_image_series,
        sop_instance_uid=names.uid("key image", image.decision.id),
        instance_number=number,
        series_description=_DESCRIPTION,
        patient_id=header.PatientID,
        patient_name=header.PatientName,
        patient_birth_date=header.PatientBirthDate,
        patient_sex=header.PatientSex,
        study_id=header.StudyID,
        accession_number=header.AccessionNumber,
        study_date=header.StudyDate,
        study_time=header.StudyTime,
        referring_physician_name=header.ReferringPhysicianName,
        **made_by(names, config),
    )
    # The picture has more than the X-ray on it: no side of it is the patient's.
    made["PatientOrientation"].value = None
    made.Laterality = ""
    made.ConversionType = "WSD"
    made.ImageComments = DISCLAIMER
    made.DerivationDescription = "X-ray with the answer of a model"
    made.SourceImageSequence = [_source(header)]
    if "BurnedInAnnotation" in header:  # what the X-ray shows of its patient, this one shows too
        made.BurnedInAnnotation = header.BurnedInAnnotation
    add_patient(made, header)
    return made


def _source(header: Dataset) -> Dataset:
    source, purpose = Dataset(), Dataset()
    source.ReferencedSOPClassUID = header.SOPClassUID
    source.ReferencedSOPInstanceUID = header.SOPInstanceUID
    code = published.DCM.SourceImageForImageProcessingOperation
    purpose.CodeValue, purpose.CodingSchemeDesignator = code.value, code.scheme_designator
    purpose.CodeMeaning = code.meaning
    source.PurposeOfReferenceCodeSequence = [purpose]
    return source
