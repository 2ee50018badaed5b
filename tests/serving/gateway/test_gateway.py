"""The whole gateway between a modality and an archive."""

import errno
import json

import grpc
import numpy as np
import pytest
from pydicom.uid import generate_uid

from cxrflow.schema.audit import read_audit
from cxrflow.schema.pseudonyms import Pseudonyms
from cxrflow.serving.gateway.report import build_report
from cxrflow.serving.gateway.service import Gateway
from tests.serving.answering import CLASSES, INFO, PROBABILITIES, THRESHOLDS, answering
from tests.serving.gateway import hospital
from tests.serving.gateway.hospital import send, states, until, write_xray


def texts(report) -> list[str]:
    """Every text of a report's tree."""
    found, waiting = [], [report]
    while waiting:
        item = waiting.pop()
        found += [item.TextValue] if "TextValue" in item else []
        found += [c.CodeMeaning for c in item.get("ConceptCodeSequence", [])]
        waiting += item.get("ContentSequence", [])
    return found


def numbers(report) -> dict[str, dict[str, float]]:
    """Values by finding, then by name, of a report's measurement groups."""
    found = {}
    for container in report.ContentSequence:
        for group in container.get("ContentSequence", []):
            items = group.get("ContentSequence", [])
            name = [
                i.ConceptCodeSequence[0].CodeMeaning
                for i in items
                if i.ConceptNameCodeSequence[0].CodeMeaning == "Finding"
            ]
            if name:
                found[name[0]] = {
                    i.ConceptNameCodeSequence[0].CodeMeaning: float(
                        i.MeasuredValueSequence[0].NumericValue
                    )
                    for i in items
                    if i.ValueType == "NUM"
                }
    return found


def test_an_xray_comes_back_as_a_report_and_a_key_image(site, tmp_path):
    xray = write_xray(tmp_path / "a.dcm")
    (answer,) = site.send(xray)
    assert answer.Status == 0
    until(lambda: site.archive.reports and site.archive.key_images)
    report, image = site.archive.reports[0], site.archive.key_images[0]
    sent = hospital.dcmread(xray)
    for result in (report, image):
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber"):
            assert result[keyword].value == sent[keyword].value
        assert result.SOPInstanceUID.startswith("2.25.")
        assert result.SeriesInstanceUID != sent.SeriesInstanceUID
        assert result.Manufacturer == "cxrflow"
    values = numbers(report)
    assert len(values) == len(CLASSES)
    assert values["Mass"] == {"Certainty of Finding": 45.0, "Threshold Value": 50.0}
    assert values["Pulmonary edema"] == {"Certainty of Finding": 30.0, "Threshold Value": 20.0}
    assert any("not for diagnosis" in text for text in texts(report))
    (source,) = image.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == sent.SOPInstanceUID
    assert (image.PhotometricInterpretation, image.BitsAllocated) == ("RGB", 8)
    until(lambda: states(site.folder) == {"answered": [sent.StudyInstanceUID]})


def test_the_audit_log_says_what_was_decided_and_names_nobody(site, tmp_path):
    xray = write_xray(tmp_path / "a.dcm")
    site.send(xray)
    until(lambda: "answered" in states(site.folder))
    log = site.folder / "audit.jsonl"
    (decision,) = read_audit(log)
    sent, names = hospital.dcmread(xray), Pseudonyms(hospital.KEY.encode())
    assert decision.answer == "findings"
    assert decision.scores == pytest.approx(dict(zip(CLASSES, PROBABILITIES, strict=True)))
    assert decision.thresholds == dict(zip(CLASSES, THRESHOLDS, strict=True))
    assert decision.decisions["Edema"] is True and decision.decisions["Mass"] is False
    assert (decision.age, decision.sex, decision.view) == (65, "F", "PA")
    assert (decision.image.width, decision.image.height) == (96, 80)
    # 300 to 3600 of a window from 0 to 4000: gray levels around 128 are in the middle.
    assert 100 < decision.image.mean < 150 and 40 < decision.image.standard_deviation < 80
    assert (decision.model, decision.model_version) == ("cxrflow", 7)
    assert decision.model_digest == hospital.DIGEST
    assert decision.ood.score == 3 and decision.ood.flagged is False
    assert decision.patient == names.of("patient", "417")  # as ingest writes 00417
    assert decision.sop_instance == names.of("image", sent.SOPInstanceUID)
    assert decision.sender == hospital.MODALITY
    text = log.read_text()
    for element in ("PatientName", "PatientID", "StudyInstanceUID", "SOPInstanceUID"):
        assert str(sent[element].value) not in text
    assert "A-77" not in text and "Who" not in text


def test_images_of_a_study_are_answered_together_late_ones_apart(site, tmp_path):
    study = generate_uid()
    first = [write_xray(tmp_path / f"{i}.dcm", i, StudyInstanceUID=study) for i in range(2)]
    site.send(*first)
    until(lambda: site.archive.reports)
    late = write_xray(tmp_path / "late.dcm", 9, StudyInstanceUID=study)
    site.send(late)
    until(lambda: len(site.archive.reports) == 2)
    until(lambda: states(site.folder) == {"answered": [study]})
    (evidence,), (later,) = (
        one.CurrentRequestedProcedureEvidenceSequence for one in site.archive.reports
    )
    images = [i.ReferencedSOPInstanceUID for s in evidence.ReferencedSeriesSequence for i in
              s.ReferencedSOPSequence]  # fmt: skip
    assert sorted(images) == sorted(hospital.dcmread(path).SOPInstanceUID for path in first)
    assert len(later.ReferencedSeriesSequence) == 1
    assert len(site.archive.key_images) == 3


def test_an_image_that_comes_again_is_not_answered_again(site, tmp_path):
    xray = write_xray(tmp_path / "a.dcm")
    site.send(xray)
    until(lambda: "answered" in states(site.folder))
    assert site.send(xray)[0].Status == 0
    other = write_xray(tmp_path / "b.dcm")
    site.send(other)
    until(lambda: len(site.archive.reports) == 2)
    uids = {hospital.dcmread(path).StudyInstanceUID for path in (xray, other)}
    assert {report.StudyInstanceUID for report in site.archive.reports} == uids


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"ViewPosition": "LL"}, "is a view LL"),
        ({"BodyPartExamined": "HAND"}, "shows HAND"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "is raw data"),
    ],
)
def test_what_is_no_frontal_chest_xray_gets_a_report_that_says_so(site, tmp_path, elements, reason):
    site.send(write_xray(tmp_path / "a.dcm", **elements))
    until(lambda: "answered" in states(site.folder))
    (report,) = site.archive.reports
    assert not site.archive.key_images and not site.model.asked
    assert "Not a frontal chest X-ray" in texts(report)
    assert any(reason in text for text in texts(report))
    (decision,) = read_audit(site.folder / "audit.jsonl")
    assert decision.answer == "not_frontal_chest" and reason in decision.reason


def test_what_the_model_takes_for_another_picture_gets_no_findings(site, tmp_path):
    site.model.unlike = 99.0
    site.send(write_xray(tmp_path / "a.dcm"))
    until(lambda: "answered" in states(site.folder))
    (report,) = site.archive.reports
    assert not numbers(report) and not site.archive.key_images
    assert "Not like the chest X-rays that the model knows" in texts(report)
    (decision,) = read_audit(site.folder / "audit.jsonl")
    assert decision.answer == "out_of_distribution" and decision.ood.flagged
    assert decision.scores  # the monitor wants them


def test_a_damaged_image_gets_a_report_without_findings(site, tmp_path):
    site.send(write_xray(tmp_path / "a.dcm", Rows=4000))
    until(lambda: "answered" in states(site.folder))
    (report,) = site.archive.reports
    assert "No answer" in texts(report)
    (decision,) = read_audit(site.folder / "audit.jsonl")
    assert decision.answer is None and "damaged" in decision.reason


def test_a_study_without_images_is_put_aside(site, tmp_path):
    study = generate_uid()
    site.send(write_xray(tmp_path / "a.dcm", StudyInstanceUID=study))
    until(lambda: "answered" in states(site.folder))
    (report,) = site.archive.reports  # a router that sends everything of a study back
    report.StudyInstanceUID = generate_uid()
    path = tmp_path / "sr.dcm"
    report.save_as(path, enforce_file_format=True)
    site.send(path)
    until(lambda: "failed" in states(site.folder))
    (folder,) = (site.folder / "queue" / "failed").iterdir()
    reason = json.loads((folder / "1" / "reason.json").read_text())
    assert reason["reason"] == "a study without images"


def test_its_own_key_images_are_not_answered(site, tmp_path):
    site.send(write_xray(tmp_path / "a.dcm"))
    until(lambda: site.archive.key_images and "answered" in states(site.folder))
    (image,) = site.archive.key_images
    image.save_as(tmp_path / "key.dcm", enforce_file_format=True)
    site.send(tmp_path / "key.dcm")
    until(lambda: len(list(read_audit(site.folder / "audit.jsonl"))) == 2)
    until(lambda: list(states(site.folder)) == ["answered"])
    assert len(site.archive.reports) == 1


def test_images_of_several_patients_in_one_study_are_put_aside(site, tmp_path):
    study = generate_uid()
    site.send(
        write_xray(tmp_path / "a.dcm", 1, StudyInstanceUID=study),
        write_xray(tmp_path / "b.dcm", 2, StudyInstanceUID=study, PatientID="00418"),
    )
    until(lambda: states(site.folder) == {"failed": [study]})
    assert not site.archive.got


def test_a_model_without_maps_is_asked_without(site, tmp_path):
    site.model.maps = False
    site.send(write_xray(tmp_path / "a.dcm"))
    (image,) = until(lambda: site.archive.key_images)
    with_maps = write_xray(tmp_path / "b.dcm")
    site.model.maps = True
    site.send(with_maps)
    until(lambda: len(site.archive.key_images) == 2)
    assert site.archive.key_images[1].Columns - image.Columns == 256  # the map beside the X-ray


def test_a_server_that_is_down_is_waited_for(site, tmp_path):
    site.model.refuses = grpc.StatusCode.UNAVAILABLE
    site.send(write_xray(tmp_path / "a.dcm"))
    until(lambda: site.model.asked > 3)
    assert list(states(site.folder)) == ["waiting"]
    site.model.refuses = None
    until(lambda: site.archive.reports)


@pytest.mark.slow
def test_a_full_disk_is_waited_for(site, tmp_path, monkeypatch, caplog):
    tries = iter(range(5))  # more than faults of our own put a study aside

    def refuse(*args):
        if next(tries, None) is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return build_report(*args)

    monkeypatch.setattr("cxrflow.serving.gateway.answer.build_report", refuse)
    site.send(write_xray(tmp_path / "a.dcm"))
    until(lambda: "answered" in states(site.folder))
    assert len(site.archive.reports) == 1
    lines = [r.message for r in caplog.records if "No space left on device" in r.message]
    assert len(lines) == 5 and all("results aren't written" in line for line in lines)


ODD = (*("Nodule/Mass", "心肥大", "Größe \\ Breite", "<b>&amp;", "A" * 64, "x.y {0} %s"),)


def test_classes_are_free_names(site, tmp_path, monkeypatch):
    thresholds = {name: {"youden": {"threshold": 0.4}} for name in ODD}
    monkeypatch.setitem(INFO, "classes", ODD)
    monkeypatch.setitem(INFO, "thresholds", thresholds)
    site.send(write_xray(tmp_path / "a.dcm"))
    until(lambda: "answered" in states(site.folder))
    (report,), (image,) = site.archive.reports, site.archive.key_images
    assert set(numbers(report)) == {name.replace("\\", "") for name in ODD}
    assert image.Columns > 0
    (decision,) = read_audit(site.folder / "audit.jsonl")
    assert tuple(decision.scores) == ODD


def test_an_archive_that_is_down_is_waited_for(site, tmp_path):
    port = site.archive._server.server_address[1]
    site.archive.stop()
    xray = write_xray(tmp_path / "a.dcm")
    site.send(xray)
    until(lambda: list((site.folder / "queue" / "asked").glob("*/1/trying.json")))
    site.archive.start(port)
    until(lambda: "answered" in states(site.folder))
    assert len(site.archive.reports) == len(site.archive.key_images) == 1


def test_a_peer_that_takes_no_report_gets_the_key_image(open_site, tmp_path, caplog):
    site = open_site(hospital.Archive([hospital.SECONDARY_CAPTURE]))
    site.send(write_xray(tmp_path / "a.dcm"))
    until(lambda: "failed" in states(site.folder))
    assert len(site.archive.key_images) == 1 and not site.archive.reports
    (line,) = until(lambda: [r.message for r in caplog.records if "takes no" in r.message])
    assert "archive (ARCHIVE) takes no Comprehensive SR Storage" in line


def test_what_an_operator_puts_back_is_sent(open_site, tmp_path, monkeypatch):
    monkeypatch.setattr("cxrflow.serving.gateway.service._RESCAN_SECONDS", 0.1)
    site = open_site()
    site.archive.answers[hospital.COMPREHENSIVE_SR] = 0xA900
    xray = write_xray(tmp_path / "a.dcm")
    site.send(xray)
    until(lambda: "failed" in states(site.folder))
    site.archive.answers.clear()
    queue = site.folder / "queue"
    (study,) = (queue / "failed").iterdir()
    study.rename(queue / "asked" / study.name)
    until(lambda: "answered" in states(site.folder))
    assert len(site.archive.reports) == len(site.archive.key_images) == 1


def test_a_status_that_may_pass_is_tried_again(site, tmp_path):
    site.archive.answers[hospital.COMPREHENSIVE_SR] = 0xA700
    site.send(write_xray(tmp_path / "a.dcm"))
    until(lambda: list((site.folder / "queue" / "asked").glob("*/1/trying.json")))
    site.archive.answers.clear()
    until(lambda: "answered" in states(site.folder))
    assert len(site.archive.reports) == len(site.archive.key_images) == 1


def test_names_in_other_letters_arrive_whole(site, tmp_path):
    site.send(
        write_xray(
            tmp_path / "a.dcm",
            SpecificCharacterSet=["", "ISO 2022 IR 87"],
            PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        )
    )
    report = until(lambda: site.archive.reports)[0]
    assert str(report.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert report.SpecificCharacterSet == "ISO_IR 192"


def test_two_gateways_do_not_share_a_queue(site):
    from cxrflow.schema.errors import CxrflowError

    other = Gateway(hospital.config(site.folder, "127.0.0.1:1", destinations=[]))
    with pytest.raises(CxrflowError, match="another gateway works on the queue"), other.running():
        pass


def test_a_new_process_goes_on_where_the_last_one_stopped(tmp_path):
    """Without an archive, a first one gets as far as `asked`; the second sends the same objects."""
    archive = hospital.Archive()
    with answering(hospital.FakeModel()) as server, hospital.kept(archive) as port:
        archive.stop()
        config = hospital.config(tmp_path / "g", server, destinations=[hospital.to_archive(port)])
        with Gateway(config).running() as gateway:
            send(gateway.port, [write_xray(tmp_path / "a.dcm")])
            made = until(lambda: list((tmp_path / "g/queue/asked").glob("*/1/results/report.dcm")))
            before = hospital.dcmread(made[0]).SOPInstanceUID
        archive.start(port)
        with Gateway(config).running():
            until(lambda: "answered" in states(tmp_path / "g"))
        assert [report.SOPInstanceUID for report in archive.reports] == [before]
        assert len(list(read_audit(tmp_path / "g" / "audit.jsonl"))) == 1


def test_a_key_image_shows_the_words(site, tmp_path):
    site.send(write_xray(tmp_path / "a.dcm"))
    (image,) = until(lambda: site.archive.key_images)
    pixels = image.pixel_array
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 120) & (pixels[..., 2] < 120)
    assert red[-40:].any()  # below the X-ray
    assert red[:60, -150:].any()  # above the findings
    assert np.ptp(pixels[:200, :200]) > 100
