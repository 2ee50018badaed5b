"""Other people's programs: dcmtk's tools, dicom3tools' validator and Orthanc."""

import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.serving.gateway import hospital
from tests.serving.gateway.hospital import states, until, write_xray
from tests.support.ports import free_port

PLUGINS = Path("/usr/share/orthanc/plugins")
dcmtk = pytest.mark.skipif(not shutil.which("storescu"), reason="dcmtk is not installed")
validator = pytest.mark.skipif(not shutil.which("dciodvfy"), reason="no dciodvfy here")


def run(*command: object) -> subprocess.CompletedProcess:
    parts = [str(part) for part in command]
    return subprocess.run(
        parts, capture_output=True, text=True, errors="replace", timeout=60, check=False
    )


@pytest.fixture
def results(open_site, tmp_path) -> dict[str, Path]:
    """A report on a frontal and a lateral X-ray, a key image and a presentation state, as an
    archive got them."""
    site = open_site(wants=["report", "key_image", "presentation"])
    study = hospital.generate_uid()
    site.send(
        write_xray(tmp_path / "pa.dcm", 1, StudyInstanceUID=study, PatientName="Müller^Jörg",
                   SpecificCharacterSet="ISO_IR 100"),
        write_xray(tmp_path / "lat.dcm", 2, StudyInstanceUID=study, ViewPosition="LL",
                   PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100"),
    )  # fmt: skip
    until(lambda: "answered" in states(site.folder))
    paths = {"report": tmp_path / "report.dcm", "key_image": tmp_path / "key_image.dcm"}
    site.archive.reports[0].save_as(paths["report"], enforce_file_format=True)
    site.archive.key_images[0].save_as(paths["key_image"], enforce_file_format=True)
    paths["presentation"] = tmp_path / "presentation.dcm"
    site.archive.presentations[0].save_as(paths["presentation"], enforce_file_format=True)
    return paths


@validator
@pytest.mark.parametrize("kind", ["report", "key_image", "presentation"])
def test_the_validator_finds_no_error(results, kind):
    found = run("dciodvfy", results[kind])
    said = found.stderr + found.stdout
    assert "Error" not in said, said
    expected = {
        "report": "ComprehensiveSR",
        "key_image": "SCImage",
        "presentation": "GrayscaleSoftcopyPresentationState",
    }
    assert expected[kind] in said


@validator
def test_the_validator_finds_no_error_where_little_is_known(site, tmp_path):
    site.send(
        write_xray(
            tmp_path / "a.dcm",
            **dict.fromkeys(
                ["PatientBirthDate", "PatientSex", "PatientAge", "StudyDate", "StudyTime",
                 "StudyID", "AccessionNumber", "ReferringPhysicianName", "Manufacturer"]
            ),
        )
    )  # fmt: skip
    until(lambda: "answered" in states(site.folder))
    for number, result in enumerate(site.archive.got):
        result.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        said = run("dciodvfy", tmp_path / f"{number}.dcm").stderr
        assert "Error" not in said, said


@dcmtk
def test_dsrdump_reads_the_report(results):
    found = run("dsrdump", results["report"])
    assert found.returncode == 0, found.stderr
    assert "Imaging Measurement Report" in found.stdout
    assert "Not a frontal chest X-ray" in found.stdout
    assert "Certainty of Finding" in found.stdout
    checked = run("dsrdump", "--verbose", results["report"])
    assert "error" not in checked.stderr.lower()


@dcmtk
def test_dcmtk_shows_the_key_image(results, tmp_path):
    found = run("dcmj2pnm", "--write-png", results["key_image"], tmp_path / "key.png")
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "key.png").stat().st_size > 5_000


@dcmtk
def test_dcmtk_draws_the_presentation_state_over_the_xray(results, tmp_path):
    """As a viewer does: the X-ray through the state, as a bitmap with the text and box drawn."""
    for name in ("plain", "stated"):
        state = ["-p", results["presentation"]] if name == "stated" else []
        drawn = run("dcmp2pgm", *state, tmp_path / "pa.dcm", tmp_path / f"{name}.pgm")
        assert drawn.returncode == 0, drawn.stderr


@dcmtk
def test_echoscu_and_storescu_are_served(site, tmp_path):
    there = ["-aec", hospital.TITLE, "127.0.0.1", site.port]
    assert run("echoscu", "-aet", hospital.MODALITY, *there).returncode == 0
    stranger = run("echoscu", "-aet", "STRANGER", *there)
    assert stranger.returncode and "Calling AE Title Not Recognized" in stranger.stderr
    xray = write_xray(tmp_path / "a.dcm")
    sent = run("storescu", "-aet", hospital.MODALITY, *there, xray)
    assert sent.returncode == 0, sent.stderr
    until(lambda: site.archive.reports and site.archive.key_images)


@dcmtk
@pytest.mark.parametrize(("coding", "option"), [("+eb", "-xb"), ("+ei", "-xi")])
def test_storescu_in_other_syntaxes(site, tmp_path, coding, option):
    """Big endian, and implicit."""
    recoded = {"+eb": "+tb", "+ei": "+ti"}[coding]
    xray = tmp_path / "recoded.dcm"
    assert run("dcmconv", recoded, write_xray(tmp_path / "a.dcm"), xray).returncode == 0
    there = ["-aec", hospital.TITLE, "127.0.0.1", site.port]
    sent = run("storescu", "-aet", hospital.MODALITY, option, *there, xray)
    assert sent.returncode == 0, sent.stderr
    until(lambda: site.archive.reports)
    (decision,) = hospital_audit(site)
    assert decision["answer"] == "findings"


def hospital_audit(site) -> list[dict]:
    return [json.loads(line) for line in (site.folder / "audit.jsonl").read_text().splitlines()]


@dcmtk
@pytest.mark.parametrize("prefers", ["+xe", "+xi"], ids=["explicit", "implicit"])
def test_storescp_receives_both(open_site, tmp_path, prefers):
    port, folder = free_port(), tmp_path / "storescp"
    folder.mkdir()
    process = subprocess.Popen(
        ["storescp", prefers, "-aet", hospital.ARCHIVE, "-od", folder, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        site = open_site(destinations=[hospital.to_archive(port)])
        site.send(write_xray(tmp_path / "a.dcm"))
        until(lambda: "answered" in states(site.folder))
    finally:
        process.terminate()
        process.wait()
    found = [dcmread(path, force=True) for path in folder.iterdir()]
    kinds = {one.SOPClassUID for one in found}
    assert kinds == {hospital.COMPREHENSIVE_SR, hospital.SECONDARY_CAPTURE}
    assert {one.file_meta.TransferSyntaxUID.is_implicit_VR for one in found} == {prefers == "+xi"}


@contextmanager
def orthanc(folder: Path, http: int, dicom: int):
    """Orthanc with its DICOMweb plugin where there is one; yields a function that asks it."""
    folder.mkdir()
    plugins = [str(path) for path in PLUGINS.glob("libOrthancDicomWeb*.so*")][:1]
    (folder / "orthanc.json").write_text(
        json.dumps(
            {
                "Name": "archive",
                "StorageDirectory": str(folder / "db"),
                "IndexDirectory": str(folder / "db"),
                "HttpPort": http,
                "DicomPort": dicom,
                "DicomAet": hospital.ARCHIVE,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "Plugins": plugins,
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            }
        )
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [shutil.which("Orthanc"), folder / "orthanc.json"], stdout=log, stderr=log
        )

        def ask(path: str, accept: str = "*/*") -> bytes:
            url = f"http://127.0.0.1:{http}{path}"
            request = urllib.request.Request(url, headers={"Accept": accept})
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.read()

        try:
            for _ in range(200):
                try:
                    ask("/system")
                    break
                except OSError:
                    assert process.poll() is None, (folder / "log").read_text()
                    time.sleep(0.1)
            yield ask
        finally:
            process.terminate()
            process.wait()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("Orthanc"), reason="no Orthanc here")
@pytest.mark.parametrize("way", ["C-STORE", "STOW-RS"])
def test_orthanc_receives_and_shows_both(open_site, tmp_path, way):
    if way == "STOW-RS" and not list(PLUGINS.glob("libOrthancDicomWeb*")):
        pytest.skip("no orthanc-dicomweb here")
    http, dicom = free_port(), free_port()
    with orthanc(tmp_path / "orthanc", http, dicom) as ask:
        to = hospital.to_archive(dicom)
        if way == "STOW-RS":
            to = {"name": "web", "stow_url": f"http://127.0.0.1:{http}/dicom-web"}
        site = open_site(destinations=[to])
        xray = write_xray(tmp_path / "a.dcm")
        site.send(xray)
        until(lambda: "answered" in states(site.folder))
        instances = json.loads(ask("/instances"))
        tags = [json.loads(ask(f"/instances/{one}/simplified-tags")) for one in instances]
        kinds = {each["SOPClassUID"]: one for each, one in zip(tags, instances, strict=True)}
        assert set(kinds) == {hospital.COMPREHENSIVE_SR, hospital.SECONDARY_CAPTURE}
        (study,) = json.loads(ask("/studies"))  # both in the X-ray's own
        shown = json.loads(ask(f"/studies/{study}"))["MainDicomTags"]
        assert shown["StudyInstanceUID"] == dcmread(xray).StudyInstanceUID
        preview = ask(f"/instances/{kinds[hospital.SECONDARY_CAPTURE]}/preview", "image/png")
        assert preview.startswith(b"\x89PNG")
        report = next(each for each in tags if each["Modality"] == "SR")
        assert "Certainty of Finding" in json.dumps(report)
