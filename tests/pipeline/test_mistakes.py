"""Mistakes at the terminal: each ends in one line that helps and a fitting exit code.

No row may import TensorFlow: a mistake is told before the seconds that takes.
"""

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

import cxrflow.components.publish.foreign
from cxrflow.schema.store.manifest import Manifest, file_paths, read_file, write_manifest
from tests.pipeline.command import cxrflow
from tests.serving.answering import answering

REPO = Path(__file__).parents[2]

# (what is typed, exit code, a piece of the line). {w} is a folder of odd things, see `workspace`;
# {ask} a server's address, {rest} a REST port's, {taken} a port in use. `> PLACE` as in a shell.
GENERAL = [
    ("", 2, ""),
    ("frob", 2, "No such command 'frob'"),
    ("--frob", 2, "No such option: --frob"),
    ("predct", 2, "Did you mean 'predict'"),
    ("--help > /dev/full", 2, "No space left on device"),
    ("predict --help > /dev/full", 2, "No space left on device"),
    ("models", 2, ""),
    ("models frob", 2, "No such command 'frob'"),
    ("data", 2, ""),
    ("data frob", 2, "No such command 'frob'"),
    ("--version > /dev/full", 2, "No space left on device"),
    ("config", 2, ""),
    ("config show nothing", 2, "nothing"),
    ("config show --profile nope", 2, "no profile 'nope'"),
    ("config show --server --profile demo", 2, "leave --profile and --set out"),
    ("config show --set train.epoch=1", 2, "did you mean train.epochs?"),
    ("config show > /dev/full", 2, "No space left on device"),
    ("doctor --fast", 2, "No such option: --fast"),
    ("runs list {w}/nope", 2, "{w}/nope"),
    ("runs list {w}/text.txt", 2, "is a file"),
]
SERVER = "--set metadata.kind=mariadb --set metadata.host=127.0.0.1"
PATH = "--set metadata.password_variable=PATH"  # a variable that is always there
RUN = [
    ("run --profile nope", 2, "no profile 'nope': name one of demo"),
    ("run --profile {w}/nope.yaml", 2, "no profile"),
    ("run --profile {w}/broken.yaml", 2, "is not YAML"),
    ("run --profile {w}/latin.yaml", 2, "is not YAML"),
    ("run --profile {w}/list.yaml", 2, "must hold `section:` blocks"),
    ("run --profile {w}/unknown.yaml", 2, "train.epoch"),
    ("run --profile {w}/empty", 2, "no profile"),
    ("run --profile ''", 2, "no profile ''"),
    ("run --set train.epoch=3", 2, "did you mean train.epochs?"),
    ("run --sett train.epochs=3", 2, "--set"),
    ("run --set train.epochs=many", 2, "train.epochs"),
    ("run --set train.epochs=-1", 2, "train.epochs"),
    ("run --set train", 2, "write it as section.name=value"),
    ("run --set =3", 2, "write it as section.name=value"),
    ("run --set train.epochs", 2, "write it as section.name=value"),
    ("run --set nothing.at.all=1", 2, "nothing"),
    ("run --set ingest.classes=[Fracture]", 2, "ingest.classes"),
    ("run --set", 2, "Option '--set' requires an argument"),
    ("run --engine spark", 2, "--engine spark: name one of local, beam"),
    ("run --jobs 0", 2, "--jobs"),
    ("run --jobs many", 2, "--jobs"),
    ("run --jobs 2 --engine beam", 2, "--jobs goes with --engine local"),
    ("run --set metadata.kind=postgresql", 2, "metadata.kind: can't be PostgreSQL: ML Met"),
    ("run --set metadata.kind=mysql", 2, "name the server in metadata.host"),
    ("run --set metadata.database=a-b", 2, "metadata.database"),
    (f"run {SERVER} --set metadata.port={{taken}}", 2, "set the environment variable CXRFLOW_ME"),
    (f"run {SERVER} {PATH} --set metadata.port=1", 2, "server 127.0.0.1:1 can't be reached (Con"),
    (f"compile {SERVER} {PATH} --set metadata.port=1", 2, "correct metadata.host and metadata."),
    ("run --profile nih", 2, "--data DIR"),
    ("run --data {w}/nope", 2, "no folder"),
    ("run --data {w}/text.txt", 2, "--data"),
    ("run --root {w}/text.txt", 2, "is a file"),
    ("run --root /proc/cxrflow", 2, "/proc/cxrflow"),
    ("run --root /dev/null/run", 2, "/dev/null/run"),
    ("study --profile nope", 2, "no profile 'nope'"),
    ("study --experiments colour", 2, "--experiments colour: name some of"),
    ("study --experiments ''", 2, "name some of"),
    ("study --root /dev/null/x", 2, "/dev/null/x"),
    ("study --set study.image=1", 2, "study.image"),
]
NODES = [
    ("compile --profile nope", 2, "no profile 'nope'"),
    ("compile --profile nih", 2, "--data DIR"),
    ("compile --data {w}/nope", 2, "no folder"),
    ("compile --root {w}/text.txt", 2, "is a file"),
    ("compile --set train.epoch=3", 2, "did you mean train.epochs?"),
    ("compile --engine slrm", 2, "--engine slrm, did you mean slurm?: name one of slurm, kuber"),
    ("compile --engine kubernetes", 2, "isn't below /cxrflow, where the containers see the vol"),
    ("node", 2, "Missing argument"),
    ("node Gate --run-id 1", 2, "Missing option '--pipeline'"),
    ("node Gate --pipeline {w}/compiled.json", 2, "Missing option '--run-id'"),
    ("node Gate --pipeline {w}/nope.json --run-id 1", 2, "nope.json can't be read (No such file"),
    ("node Gate --pipeline {w}/empty --run-id 1", 2, "can't be read (Is a directory"),
    ("node Gate --pipeline {w}/text.txt --run-id 1", 2, "is no compiled pipeline: `cxrflow comp"),
    ("node Gate --pipeline {w}/other_run/run.json --run-id 1", 2, "is no compiled pipeline"),
    ("node Gte --pipeline {w}/compiled.json --run-id 1", 2, "no node Gte, did you mean Gate?"),
    ("node Gate --pipeline {w}/compiled.json --run-id 'a/b'", 2, "--run-id 'a/b': take letters"),
    ("node Gate --pipeline {w}/compiled.json --run-id ''", 2, "--run-id '': take letters"),
    ("node Gate --pipeline {w}/compiled.json --run-id 1", 2, "no folder /nowhere/run on this"),
    ("node Gate --pipeline {w}/compiled.json --run-id 1 --root {w}/text.txt", 2, "no folder"),
    ("node Gate --pipeline {w}/compiled.json --run-id 1 --quiet --verbose", 2, "give one"),
]
REPORTS = [
    ("baseline", 2, "Missing option '--root'"),
    ("baseline --root {w}/nope", 2, "no finished run in"),
    ("baseline --root {w}/text.txt", 2, "is a file"),
    ("baseline --root {w}/broken_run", 2, "run.json"),
    ("dashboard --root {w}/nope", 2, "no finished run in"),
    ("dashboard --root {w}/empty", 2, "no finished run in"),
    ("dashboard --root {w}/text.txt", 2, "is a file"),
    ("dashboard --root {w}/broken_run", 2, "run.json"),
    ("dashboard --root {w}/other_run", 2, "run.json"),
    ("dashboard --root {w}/empty --to {w}/text.txt", 2, "is a file"),
    ("explain", 2, "Missing argument"),
    ("explain {w}/a.png --model {w}/nope", 2, "is no model"),
    ("explain {w}/a.png --model {w}/text.txt", 2, "is no model"),
    ("explain {w}/a.png --model {w}/empty", 2, "is no model"),
    ("explain {w}/a.png --model {w}/broken_run", 2, "run.json"),
]
DATA = [
    ("data check", 2, "Missing argument"),
    ("data check {w}/nope", 2, "{w}/nope"),
    ("data check {w}/text.txt", 2, "text.txt"),
    ("data check {w}/empty", 2, "has no table"),
    ("data check {w}/dead", 2, "dead"),
    ("data check {w}/empty --profile nope", 2, "no profile 'nope'"),
    ("data check {w}/no_columns", 2, "lacks the columns"),
    ("data check {w}/table_is_a_folder", 2, "Data_Entry_2017.csv"),
    ("data check {w}/unreadable_table", 2, "Data_Entry_2017.csv"),
    ("data phantom", 2, "Missing option '--to'"),
    ("data phantom --to {w}/empty --patients many", 2, "--patients"),
    ("data phantom --to {w}/empty --patients 0", 2, "patients"),
    ("data phantom --to {w}/empty --patients -3", 2, "patients"),
    ("data phantom --to {w}/text.txt --patients 2", 2, "text.txt"),
    ("data phantom --to {w}/models --patients 2", 2, "models"),
    ("data phantom --to /proc/x --patients 1", 2, "/proc"),
    ("data phantom --to /dev/null/x --patients 2", 2, "/dev/null"),
    ("data phantom --to {w}/new1 --patients 2 --prevalence-scale nan", 2, "prevalence"),
    ("data phantom --to {w}/new2 --patients 2 --prevalence-scale -1", 2, "prevalence"),
    ("data download --to {w}/new3", 2, "Missing option '--dataset'"),
    ("data download --dataset all --to {w}/new3", 2, "name one of sample, full"),
    ("data download --dataset full --from {w}/empty --to {w}/new3", 2, "give one of them"),
    ("data download --from {w}/nope --to {w}/new3", 2, "is not a folder; it takes one with NIH's"),
    ("data download --from {w}/empty --to {w}/new3", 2, "none of images_001.tar.gz to"),
    ("data download --dataset sample --to {w}/text.txt", 2, ""),
]
SERVE = [
    ("serve --root {w}/nope", 2, "is no folder: name a run's folder or one of models"),
    ("serve --root {w}/text.txt", 2, "is no folder"),
    ("serve --root {w}/empty", 2, "there is no model in {w}/empty"),
    ("serve --root {w}/models --port 70000", 2, "grpc_port"),
    ("serve --root {w}/models --port -1", 2, "grpc_port"),
    ("serve --root {w}/models --port eight", 2, "--port"),
    ("serve --root {w}/models --port {taken} --rest-port 0", 2, "choose another with --port"),
    ("serve --root {w}/models --port 0 --rest-port {taken}", 2, "another with --rest-port"),
    ("serve --root {w}/models --port 8123 --rest-port 8123", 2, "are both 8123: give two"),
    ("serve --root {w}/models --host 192.0.2.1", 2, "name an address of this machine"),
    ("serve --root {w}/models --host 2001:db8::1", 2, "[2001:db8::1]:8500"),
    ("serve --root {w}/models --host nope.invalid", 2, "Can't listen on nope.invalid:8500"),
    ("serve --root {w}/models --host a..b", 2, "no host's name"),
    ("serve --root {w}/models --host ''", 2, "--host is empty"),
    ("serve --root {w}/models --config {w}/nope.yaml", 2, "nope.yaml can't be read"),
    ("serve --root {w}/models --config {w}/broken.yaml", 2, "broken.yaml is not YAML"),
    ("serve --root {w}/models --config {w}/latin.yaml", 2, "latin.yaml is not YAML"),
    ("serve --root {w}/models --config {w}/list.yaml", 2, "must hold fields"),
    ("serve --root {w}/models --config {w}/server.yaml", 2, "grpc_prt"),
    ("serve --root {w}/models --config {w}/empty", 2, "Is a directory"),
    ("serve --root {w}/models --tls-cert {w}/text.txt", 2, "TLS needs both"),
    ("serve --root {w}/models --tls-client-ca {w}/text.txt", 2, "TLS needs both"),
    (
        "serve --root {w}/models --port 0 --rest-port 0 --tls-cert {w}/text.txt "
        "--tls-key {w}/text.txt", 2, "The TLS certificate, key or CA can't be used",
    ),
    ("serve --root {w}/models --port 0 --rest-port 0 --log /dev/null/x/log", 2, "/dev/null/x"),
    ("serve --root {w}/models --to {w}/new4", 2, "--to is for --print-config"),
    ("serve --root {w}/empty --print-config", 2, "there is no model"),
    ("serve --root {w}/models --print-config > /dev/full", 2, "No space left on device"),
    ("serve --root {w}/models --print-config --to /proc/x", 2, "/proc/x"),
    ("serve --root {w}/models --print-config --to {w}/text.txt", 2, "is a file"),
]  # fmt: skip
PREDICT = [
    ("predict", 2, "Missing argument 'images'"),
    ("predict {w}/a.png --server 127.0.0.1:1", 2, "Connection refused; is the server up?"),
    ("predict {w}/a.png --server nope.invalid:8500", 2, "is the server up?"),
    ("predict {w}/a.png --server here", 2, "here is no server's address: give HOST:PORT"),
    ("predict {w}/a.png --server ::1:8500", 2, "write [::1]:8500 for IPv6"),
    ("predict {w}/a.png --server http://{ask}", 2, "give HOST:PORT"),
    ("predict {w}/a.png --server a..b:1", 2, "no host is called so"),
    ("predict {w}/a.png --server {rest}", 2, "that's the REST port"),
    ("predict {w}/a.png --server {ask} --format xml", 2, "name one of table, json, csv"),
    ("predict {w}/a.png --server {ask} --format csv --attention", 2, "doesn't fit into CSV"),
    ("predict {w}/a.png --server {ask} --attention", 2, "gives no probabilities"),
    ("predict {w}/a.png --server {ask} --model cxr", 2, "only cxrflow, lungs, did you mean"),
    ("predict {w}/a.png --server {ask} --version 3", 2, "no version 3, only 7"),
    ("predict {w}/a.png --server {ask} --version x", 2, "--version"),
    ("predict {w}/a.png --server {ask} --version -1", 2, "--version"),
    ("predict {w}/a.png --server {ask} --version 99999999999999999999", 2, "--version"),
    ("predict {w}/a.png --version 1 --label stable", 2, "a version or a label, not both"),
    ("predict {w}/a.png --label {bytes}", 2, "--label \\xff isn't UTF-8"),
    ("predict {w}/a.png --window 0", 2, "--window"),
    ("predict {w}/a.png --window 9999", 2, "--window"),
    ("predict {w}/a.png --deadline 0", 2, "--deadline"),
    ("predict {w}/a.png --deadline nan", 2, "--deadline"),
    ("predict {w}/a.png --deadline inf", 2, "--deadline"),
    ("predict {w}/a.png --give-up -1", 2, "--give-up"),
    ("predict {w}/a.png --give-up ten", 2, "--give-up"),
    ("predict {w}/a.png --resume", 2, "Option '--resume' requires an argument"),
    ("predict {w}/a.png --server {ask} --resume {w}/empty", 2, "is a directory"),
    ("predict {w}/a.png --server {ask} --resume {w}/text.txt", 2, "name it .csv or .jsonl"),
    ("predict {w}/a.png --server {ask} --resume {w}/text.txt --format csv", 2, "no output of"),
    ("predict {w}/a.png --server {ask} --resume {w}/x.csv --format table", 2, "not with --format"),
    ("predict {w}/a.png --server {ask} --resume {w}/no/x.csv", 2, "No such file or directory"),
    ("predict {w}/a.png --server {ask} --resume /dev/full --format csv", 2, "no regular file"),
    ("predict {w}/a.png --server {ask} --resume {w}/fifo --format csv", 2, "no regular file"),
    ("predict {w}/a.png --server {ask} --resume /proc/x.csv", 2, "/proc/x.csv"),
    ("predict {w}/a.png --server 127.0.0.1:1 --resume {w}/x.csv", 2, "Connection refused"),
    ("predict {w}/a.png --root {w}/text.txt", 2, "is a file"),
    ("predict {w}/a.png --tls-ca {w}/nope.pem", 2, "nope.pem can't be read"),
    ("predict {w}/a.png --tls-ca {w}/text.txt", 2, "holds no certificate in PEM format"),
    ("predict {w}/a.png --tls-cert {w}/text.txt", 2, "A certificate and its key go together"),
    (
        "predict {w}/a.png --tls-cert {w}/text.txt --tls-key {w}/text.txt",
        2, "are no certificate and its key",
    ),
    ("predict {w}/nope.png --server {ask} --format csv", 1, "No such file or directory"),
    ("predict {w}/text.txt --server {ask} --format csv", 1, "neither a PNG nor a JPEG"),
    ("predict {w}/empty --server {ask} --format csv", 1, "a folder without PNG, JPEG"),
    ("predict {w}/fifo --server {ask} --format csv", 1, "no regular file"),
    ("predict {w}/dead --server {ask} --format csv", 1, "No such file or directory"),
    ("predict /proc/self/mem --server {ask} --format csv", 1, "can't be read: Input/output error"),
    ("predict {w}/{bytes}/M --server {ask} --format csv", 1, "No such file or directory"),
    ("predict {w}/a.png --server {ask} > /dev/full", 2, "No space left on device"),
    ("predict {w}/a.png --server {ask} --format csv > /dev/full", 2, "it has 0 of 1 results"),
    ("predict {w}/a.png --server {ask} --format json > /dev/full", 2, "it has 0 of 1 results"),
]  # fmt: skip
MODELS = [
    ("models list", 2, "Missing option '--root'"),
    ("models list --root {w}/nope", 2, "there is no model in {w}/nope"),
    ("models list --root {w}/text.txt", 2, "is a file"),
    ("models list --root {w}/models --name cxr", 2, "there is no model cxr in"),
    ("models list --root {w}/two", 2, "give --name, one of a, b"),
    ("models list --root {w}/labelled", 2, "labels.json can't be used"),
    ("models list --root {w}/models > /dev/full", 2, "No space left on device"),
    ("models compare --root {w}/nope", 2, "there is no model in {w}/nope"),
    ("models compare --root {w}/models 7 8", 2, "7"),
    ("models compare --root {w}/models seven", 2, "versions"),
    ("models promote --root {w}/models", 2, "no version is labelled canary: give --version N"),
    ("models promote --root {w}/models --version 7", 2, "there is no version 7 in"),
    ("models promote --root {w}/models --version -7", 2, "--version"),
    ("models promote --root {w}/models --version seven", 2, "--version"),
    ("models promote --root {w}/models --version 100 --label prod", 2, "--new-label makes it"),
    ("models promote --root {w}/models --version 100 --label stabel", 2, "did you mean stable?"),
    ("models promote --root {w}/models --version 100 --label ''", 2, "is no label"),
    ("models promote --root {w}/models --version 100 --label a/b --new-label", 2, "is no label"),
    ("models promote --root {w}/models --version 100 --label canary --pin", 2, "--pin holds"),
    ("models promote --root {w}/damaged --version 100", 2, "version 100 is damaged"),
    ("models rollback --root {w}/damaged", 2, "there is no whole version before 100"),
    ("models rollback --root {w}/models --version 7", 2, "there is no version 7 in"),
    ("models rollback --root {w}/labelled", 2, "labels.json can't be used"),
    ("models promote --root {w}/models --version 100 --wait -1", 2, "--wait"),
    ("models rollback --root {w}/models --wait nan", 2, "--wait"),
    ("models push", 2, "Missing argument 'DIR'"),
    ("models push {w}/empty", 2, "Missing option '--root'"),
    ("models push {w}/nope --root {w}/models", 2, "{w}/nope is no folder"),
    ("models push {w}/text.txt --root {w}/models", 2, "text.txt is no folder"),
    ("models push {w}/empty --root {w}/nope", 2, "--root {w}/nope is no folder"),
    ("models push {w}/empty --root {w}/text.txt", 2, "is a file"),
    ("models push {w}/empty --root {w}/models --label prod", 2, "name one of stable, canary"),
    ("models push {w}/empty --root {w}/models --name .x", 2, "--name '.x' is no model's"),
    ("models push {w}/empty --root {w}/models --name ../x", 2, "is no model's"),
    ("models push {w}/empty --root {w}/models --name ''", 2, "is no model's"),
    ("models push {w}/empty --root {w}/models", 2, "saved_model.pb can't be read (No such file"),
    ("models push {w}/empty --root {w}/models", 2, "model.json can't be read (No such file"),
    ("models push {w}/empty --root {w}/models", 2, "warmup_requests can't be read (No such file"),
    ("models push {w}/damaged/cxrflow/100 --root {w}/models", 2, "saved_model.pb is no SavedModel"),
    ("models push {w}/models/cxrflow/100 --root {w}/models", 2, "is pushed already"),
    ("models push {w}/empty --root {w}/labelled", 2, "labels.json can't be used"),
    ("models promote --root {w}/models --version 100 > /dev/full", 2, "stable is 100"),
    ("models rollback --root {w}/models --version 100 > /dev/full", 2, "stable is 100 (pinned)"),
]
MISTAKES = [*GENERAL, *RUN, *NODES, *REPORTS, *DATA, *SERVE, *PREDICT, *MODELS]


# As much of a file of `cxrflow compile` as is looked at before TFX is loaded.
COMPILED = json.dumps(
    {
        "pipelineInfo": {"id": "cxrflow"},
        "nodes": [{"pipelineNode": {"nodeInfo": {"id": "Gate"}}}],
        "runtimeSpec": {
            "pipelineRoot": {
                "runtimeParameter": {"defaultValue": {"stringValue": "/nowhere/run/artifacts"}}
            }
        },
    }
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of things to make mistakes with."""
    folder = tmp_path_factory.mktemp("mistakes")
    texts = {
        "text.txt": "text",
        "broken.yaml": "a: [1",
        "list.yaml": "- 1",
        "unknown.yaml": "train: {epoch: 1}",
        "server.yaml": "grpc_prt: 1",
        "broken_run/run.json": '{"config": ',
        "other_run/run.json": '{"runs": 1}',
        "no_columns/Data_Entry_2017.csv": "a,b\n1,2\n",
        "labelled/cxrflow/labels.json": "stable: 100",
        "compiled.json": COMPILED,
        "damaged/cxrflow/100/saved_model.pb": "?",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "latin.yaml").write_bytes(b"a: \xff\xfe")
    (folder / "empty").mkdir()
    (folder / "dead").symlink_to("nowhere")
    (folder / "table_is_a_folder" / "Data_Entry_2017.csv").mkdir(parents=True)
    (folder / "unreadable_table").mkdir()
    (folder / "unreadable_table" / "Data_Entry_2017.csv").symlink_to("/proc/self/mem")
    for name in ("no_columns", "table_is_a_folder", "unreadable_table"):
        (folder / name / "images").mkdir()
        cv2.imwrite(str(folder / name / "images" / "a.png"), np.zeros((64, 64), np.uint8))
    os.mkfifo(folder / "fifo")
    cv2.imwrite(str(folder / "a.png"), np.zeros((64, 64), np.uint8))
    for name in (
        "models/cxrflow/100",
        "models/cxrflow/200",
        "labelled/cxrflow/100",
        "two/a/1",
        "two/b/1",
    ):
        _push(folder / name)
    return folder


def _push(version: Path) -> None:
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_text("model")
    files = tuple(read_file(version, path) for path in file_paths(version))
    write_manifest(version, Manifest(int(version.name), files))


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """http.server would write to stderr."""


class _Rest(HTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no error here."""


@pytest.fixture(scope="module")
def places(workspace: Path) -> Iterator[dict[str, str]]:
    """What stands in the braces."""
    with ExitStack() as stack:
        rest = stack.enter_context(_Rest(("127.0.0.1", 0), _Quiet))
        threading.Thread(target=rest.serve_forever, daemon=True).start()
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield {
            "w": str(workspace),
            "ask": stack.enter_context(answering()),
            "rest": f"127.0.0.1:{rest.server_port}",
            "taken": str(taken.getsockname()[1]),
            "bytes": "\udcff",
        }
        rest.shutdown()


@pytest.fixture(autouse=True)
def no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it takes a minute: whoever tries is told off."""
    for name in ("tensorflow", "tfx", "apache_beam"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(("typed", "code", "line"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_mistake(
    typed: str,
    code: int,
    line: str,
    places: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # defaults such as runs/demo are made here
    args, _, out = typed.partition(" > ")
    ended = cxrflow(*(arg.format(**places) for arg in shlex.split(args)), out=out or None)
    assert "Traceback" not in ended.out + ended.err
    assert line.format(**places) in (ended.err if code == 2 else " ".join(ended.out.split()))
    assert ended.code == code, ended.err
    if code == 2 and line:
        assert len(ended.err.splitlines()) == 1
        assert ended.err.startswith("cxrflow: ")


def test_there_are_a_hundred() -> None:
    assert len(set(MISTAKES)) == len(MISTAKES) >= 100


@pytest.mark.parametrize(
    ("typed", "piece"),
    [
        ("--version", "cxrflow"),
        ("serve --help", "DIR/MODEL/VERSION/"),
        ("models promote --help", "Which to promote"),
        ("models rollback --help", "Which to go back to"),
        ("models push --help", "cxrflow models push /data/saved_model --root"),
        ("predict --help", "--resume"),
        ("predict --help", "Exit code"),
    ],
)
def test_what_newcomers_looked_for_in_vain(typed: str, piece: str) -> None:
    ended = cxrflow(*typed.split())
    assert ended.code == 0 and not ended.err and piece in ended.out


# --- what only a process of its own shows --------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "code", "line"),
    [
        ("{c} data check nope 2>/dev/full", 2, ""),
        ("{c} data check nope 2>&-", 2, ""),
        ("{c} --help >&-", 2, "the standard output is closed"),
        ("{c} --help > /dev/full", 2, "No space left on device"),
        ("{c} --help 1</dev/null", 2, "Bad file descriptor"),
        ("PYTHONUNBUFFERED=1 {c} --help > /dev/full", 2, "No space left on device"),
        (
            "PYTHONIOENCODING=ascii {c} data check $'n\\xffope\\n\\x1b[31m'",
            2,
            r"n\xffope\n\x1b[31m",
        ),
        ("LC_ALL=C {c} data check $'\\xe4\\n'", 2, r"\xe4\n"),
        ("{c} predict a.png --server 127.0.0.1:1 --tls-ca /etc/hostname", 2, "/etc/hostname"),
        ("set -o pipefail; {c} --help | true", 1, ""),
    ],
)
def test_mistake_with_streams(shell: str, code: int, line: str, tmp_path: Path) -> None:
    command = shell.format(c=f"{shlex.quote(sys.executable)} -m cxrflow.pipeline.cli")
    result = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPO)},
    )
    told = result.stderr.decode()
    assert result.returncode == code
    assert line in told and len(told.splitlines()) <= 1


def test_fault_of_our_own_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise ValueError("first\nsecond")

    monkeypatch.setattr("cxrflow.pipeline.config.load", broken)
    ended = cxrflow("data", "check", tmp_path)
    assert (ended.code, ended.out) == (70, "")
    assert ended.err == (
        "cxrflow: internal error: ValueError: first second; CXRFLOW_DEBUG=1 shows the traceback\n"
    )
    monkeypatch.setenv("CXRFLOW_DEBUG", "1")
    assert "Traceback (most recent call last)" in cxrflow("data", "check", tmp_path).err


def test_labels_stay_as_they_are_after_a_mistake(workspace: Path) -> None:
    labels = workspace / "models" / "cxrflow" / "labels.json"
    cxrflow("models", "promote", "--root", workspace / "models", "--version", "200")
    before = labels.read_bytes()
    for args in (["--label", "prod"], ["--version", "7"], ["--label", "a b", "--new-label"]):
        args = [*args, "--version", "100"] if "--version" not in args else args
        assert cxrflow("models", "promote", "--root", workspace / "models", *args).code == 2
    assert labels.read_bytes() == before
    made = cxrflow(
        *("models", "promote", "--root", workspace / "models", "--version", "100"),
        *("--label", "night", "--new-label"),
    )
    assert made.code == 0 and json.loads(labels.read_text())["labels"]["night"] == 100
