"""The answer about a study as a DICOM Structured Report: TID 1500, in a Comprehensive SR.

For each image, a measurement group for each class: its probability and threshold in percent, and
whether it is reached. An image without findings gets a group that says why.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as published

from cxrflow.schema.pseudonyms import Pseudonyms
from cxrflow.serving.client import Answer, Finding
from cxrflow.serving.gateway import codes
from cxrflow.serving.gateway.decide import Judged
from cxrflow.serving.gateway.settings import ResultsConfig
from cxrflow.serving.gateway.subject import MAKER, UTF_8, add_patient

DEVICE = "cxrflow gateway"  # Manufacturer's Model Name of what the gateway makes
DISCLAIMER = "Research software, no medical device: not for diagnosis."
_DESCRIPTION = "Findings by cxrflow, not for diagnosis"


def build_report(images: Sequence[Judged], names: Pseudonyms, config: ResultsConfig) -> Dataset:
    """The report about a study's images, as it is sent.

    Args:
        images: at least one, all of the same study and patient.
        names: gives the UIDs; the same images with the same answers always get the same.
        config: series number and institution.
    """
    study = images[0].subject.header
    groups = [
        group for number, image in enumerate(images, 1) for group in _groups(image, number, names)
    ]
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(names)),
        procedure_reported=codes.CHEST_XRAY,
        imaging_measurements=groups,
        title=published.DCM.ImagingMeasurementReport,
    )
    root = content[0]
    items = [*root.ContentSequence, _remarks(images)]
    # The library copies a content, and searches it three times by copies of its items: with a
    # content of one item, and the others added behind, a report takes half the time.
    root.ContentSequence = items[:1]
    report = ComprehensiveSR(
        evidence=[image.subject.header for image in images],
        content=root,
        series_instance_uid=names.uid("report series", study.StudyInstanceUID),
        series_number=config.report_series,
        sop_instance_uid=names.uid(
            "report", study.StudyInstanceUID, *(image.decision.id for image in images)
        ),
        instance_number=1,
        series_description=_DESCRIPTION,
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=codes.SCHEMES,
        **made_by(names, config),
    )
    report.ContentSequence = items
    add_patient(report, study)
    return report


def made_by(names: Pseudonyms, config: ResultsConfig) -> dict[str, Any]:
    """What every result says of who made it and how it is written, as highdicom's arguments."""
    return {
        "manufacturer": MAKER,
        "manufacturer_model_name": DEVICE,
        "software_versions": version("cxrflow"),
        "device_serial_number": names.of("device", ""),
        "institution_name": config.institution or None,
        "specific_character_set": UTF_8,
    }


def _observer(names: Pseudonyms) -> ObserverContext:
    """Who says so: this gateway."""
    return ObserverContext(
        observer_type=published.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=names.uid("device"), name=DEVICE, manufacturer_name=MAKER, model_name=DEVICE
        ),
    )


def _groups(
    image: Judged, number: int, names: Pseudonyms
) -> Iterator[MeasurementsAndQualitativeEvaluations]:
    """The groups of one image."""
    header, decision = image.subject.header, image.decision
    source = SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)
    if image.answer is None:
        yield MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(
                names.uid("tracking", decision.id, ""), f"image {number}"
            ),
            qualitative_evaluations=[
                QualitativeEvaluation(codes.ANSWER, codes.ANSWERS[decision.answer])
            ],
            source_images=[source],
        )
        return
    for finding in image.answer.findings:
        yield MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(
                names.uid("tracking", decision.id, finding.name), f"image {number}, {finding.name}"
            ),
            finding_type=codes.finding(finding.name),
            algorithm_id=_algorithm(image.answer, decision.model_digest),
            measurements=list(_measurements(finding)),
            qualitative_evaluations=_evaluations(finding),
            source_images=[source],
        )


def _algorithm(answer: Answer, digest: str | None) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=answer.model.name,
        version=str(answer.model.version),
        manufacturer=MAKER,
        parameters=[f"manifest SHA-256 {digest}"] if digest else None,
    )


def _measurements(finding: Finding) -> Iterator[Measurement]:
    yield Measurement(codes.PROBABILITY, _percent(finding.probability), codes.PERCENT)
    if finding.threshold is not None:
        yield Measurement(codes.THRESHOLD, _percent(finding.threshold), codes.PERCENT)


def _evaluations(finding: Finding) -> list[QualitativeEvaluation] | None:
    if finding.positive is None:
        return None
    return [QualitativeEvaluation(codes.REACHED, codes.YES if finding.positive else codes.NO)]


def _percent(share: float) -> float:
    """In percent, with four digits: of .12345 it is 12.35; a decimal string has 16 characters."""
    return float(f"{100 * share:.4g}")


def _remarks(images: Sequence[Judged]) -> ContainerContentItem:
    """What is said in words: TID 1500, row 12."""
    container = ContainerContentItem(
        name=codes.QUALITATIVE, relationship_type=RelationshipTypeValues.CONTAINS
    )
    notes = {note for image in images if image.answer for note in image.answer.model.notes}
    lines = [DISCLAIMER, *sorted(notes)]
    for number, image in enumerate(images, 1):
        decision = image.decision
        said = ([decision.reason] if decision.reason else []) + list(decision.notes)
        lines += [f"Image {number}: {line}" for line in said]
    container.ContentSequence = ContentSequence(
        [
            TextContentItem(codes.COMMENT, line, relationship_type=RelationshipTypeValues.CONTAINS)
            for line in lines
        ]
    )
    return container
