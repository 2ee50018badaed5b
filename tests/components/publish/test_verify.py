"""Pushed versions whose bytes, signatures, papers or answers are right or wrong."""

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from typer.testing import CliRunner

from cxrflow.components.publish.push import push
from cxrflow.components.publish.settings import PublishConfig
from cxrflow.pipeline.cli import app
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.metadata_json import classes_of, metadata_faults
from cxrflow.schema.store.manifest import MANIFEST, SIGNATURE
from cxrflow.schema.store.manifest import verify as manifest_faults
from cxrflow.schema.store.signature import private_key, public_key, sign, signature_fault
from tests.serving.tiny import write_tiny

PROBABILITIES = {
    "type": "probabilities",
    "format": "classes",
    "num_channels": 2,
    "spatial_shape": [],
    "dtype": "float32",
    "value_range": [0, 1],
    "is_patch_data": False,
    "channel_def": {"0": "Mean", "1": "Mark"},
}
IMAGE = {
    **PROBABILITIES,
    "type": "image",
    "format": "magnitude",
    "num_channels": 3,
    "spatial_shape": [2, 2],
    "value_range": [0, 255],
    "channel_def": {},
}
ENCODED = {**IMAGE, "num_channels": 1, "spatial_shape": ["*", "*"], "dtype": "string"}


def metadata(**changes):
    """The tiny model's true metadata, with changes."""
    outputs = {"probabilities": PROBABILITIES}
    said = dict.fromkeys(
        ("schema", "version", "task", "description", "authors", "copyright", "intended_use"), "x"
    )
    versions = dict.fromkeys(("monai_version", "pytorch_version", "numpy_version"), "1")
    return {
        **said,
        **versions,
        "required_packages_version": {},
        "eval_metrics": {},
        "synthetic": True,
        "network_data_format": {
            "signature": "pixels",
            "inputs": {"image": IMAGE},
            "outputs": outputs,
        },
        "serving_data_format": {
            "signature": "serving_default",
            "inputs": {"image_bytes": {**ENCODED, "value_range": []}},
            "outputs": outputs,
        },
        **changes,
    }


def pem(key, folder: Path, name: str, password: bytes | None = None) -> Path:
    """A private key's file, and beside it the public one's, NAME.pub."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    path = folder / name
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model", 0.25)


@pytest.fixture
def key(tmp_path) -> Path:
    return pem(Ed25519PrivateKey.generate(), tmp_path, "key.pem")


@pytest.fixture
def fake(tmp_path) -> Path:
    """A version whose graph is none; it is whole."""
    model = tmp_path / "fake"
    (model / "assets.extra").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    (model / "assets.extra" / "model.json").write_text('{"classes": ["Mean", "Mark"]}')
    return push(model, tmp_path / "root" / "serving" / "cxr")


def test_metadata_of_the_right_form():
    assert metadata_faults(json.dumps(metadata())) == []
    assert classes_of(metadata()) == ("Mean", "Mark")
    eleven = {str(i): f"c{i}" for i in range(11)}
    outputs = {"probabilities": {**PROBABILITIES, "channel_def": eleven}}
    found = classes_of({"network_data_format": {"outputs": outputs}})
    assert found == tuple(eleven.values())  # 10 comes after 9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": 1}, "task: 1 is not of type 'string'"),
        ({"network_data_format": {}}, "network_data_format: 'inputs' is a required property"),
        ({"synthetic": "no"}, "synthetic: 'no' is not of type 'boolean'"),
    ],
)
def test_metadata_of_another_form_is_named(change, said):
    assert said in metadata_faults(json.dumps(metadata(**change)))


@pytest.mark.parametrize("text", ["", "[", "\x00"])
def test_no_json_is_named(text):
    assert metadata_faults(text) == ["it is no JSON"]


def test_a_signature_holds_for_its_key_and_its_bytes_alone(fake, key, tmp_path):
    sign(fake, private_key(key))
    assert len((fake / SIGNATURE).read_bytes()) == 64
    assert manifest_faults(fake) == []  # a server doesn't mind the signature
    trusted = public_key(key.with_name("key.pem.pub"))
    assert signature_fault(fake, trusted) == ""
    foreign = pem(Ed25519PrivateKey.generate(), tmp_path, "foreign.pem")
    assert "another key's" in signature_fault(fake, public_key(foreign))
    (fake / MANIFEST).write_text((fake / MANIFEST).read_text() + "\n")
    assert "was changed since" in signature_fault(fake, trusted)
    (fake / SIGNATURE).write_bytes(b"short")
    assert "another key's" in signature_fault(fake, trusted)
    (fake / SIGNATURE).unlink()
    assert signature_fault(fake, trusted) == "it isn't signed"


def test_what_is_no_key_is_named(tmp_path, key):
    other = pem(ec.generate_private_key(ec.SECP256R1()), tmp_path, "ec.pem")
    locked = pem(Ed25519PrivateKey.generate(), tmp_path, "locked.pem", b"secret")
    (tmp_path / "text").write_text("no key")
    for path, said in (
        (other, "no Ed25519 private key: `openssl"),
        (locked, "has a password"),
        (tmp_path / "text", "no Ed25519 private key"),
        (tmp_path / "missing", "can't be read: No such file"),
        (key.with_name("key.pem.pub"), "no Ed25519 private key"),
    ):
        with pytest.raises(CxrflowError, match=said):
            private_key(path)
    for path in (tmp_path / "text", other.with_name("ec.pem.pub")):
        with pytest.raises(CxrflowError, match="no Ed25519 public key"):
            public_key(path)


def test_a_push_signs_with_the_key_of_the_settings(fake, key, tmp_path):
    base, config = fake.parent, PublishConfig(signing_key=str(key))
    # The version that was there unsigned is signed, not pushed again.
    assert push(tmp_path / "fake", base, config) == fake
    assert signature_fault(fake, public_key(key)) == ""
    (tmp_path / "fake" / "more").touch()
    newer = push(tmp_path / "fake", base, config)
    assert newer != fake and signature_fault(newer, public_key(key)) == ""
    with pytest.raises(CxrflowError, match="can't be read"):
        push(tmp_path / "fake", base, PublishConfig(signing_key=str(tmp_path / "gone")))


def test_a_card_is_part_of_the_version(fake, tmp_path):
    card = tmp_path / "card"
    card.mkdir()
    (card / "metadata.json").write_text("{}")
    model, base = tmp_path / "fake", fake.parent
    with_card = push(model, base, card=card)
    assert (with_card / "assets.extra" / "metadata.json").read_text() == "{}"
    assert with_card != fake and manifest_faults(with_card) == []
    assert push(model, base, card=card) == with_card  # the same once more is no new version
    (card / "metadata.json").write_text("{ }")
    assert push(model, base, card=card) != with_card


def run(*arguments: object):
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


@pytest.mark.tf
def test_from_push_to_verdict(tiny, key, tmp_path):
    card = tmp_path / "card"
    card.mkdir()
    (card / "metadata.json").write_text(json.dumps(metadata()))
    root = tmp_path / "root"
    version = push(tiny, root / "serving" / "cxr", card=card)
    found = run("verify", "--root", root)
    assert found.stdout == (f"cxr {version.name}: whole, and answers as it says; unsigned\n"), (
        found.output
    )
    assert found.exit_code == 0

    found = run("verify", "cxr", version.name, "--root", root, "--key", key)
    assert found.exit_code == 1
    assert f"cxr {version.name}: fault: it isn't signed\n" in found.stdout
    assert run("sign", "--root", root, "--key", key).exit_code == 0
    found = run("verify", "cxr", version.name, "--root", root, "--key", f"{key}.pub")
    assert (found.exit_code, "signed by the key" in found.stdout) == (0, True)
    found = run("verify", "--root", root)
    assert "signed, not checked: --key names" in found.stdout and found.exit_code == 0

    (version / "assets.extra" / "model.json").write_text('{"classes": ["Mean", "Other"]}')
    found = run("verify", "--root", root, "--key", key)
    assert found.exit_code == 1
    assert found.stdout.splitlines() == [
        f"cxr {version.name}: fault: assets.extra/model.json was changed",
        f"cxr {version.name}: signed by the key; the model wasn't run",
    ]
    found = run("sign", "--root", root, "--key", key)
    assert "is damaged" in str(found.exception)


@pytest.mark.tf
def test_a_model_without_metadata_is_held_against_its_classes(tiny, tmp_path):
    root = tmp_path / "root"
    push(tiny, root / "serving" / "cxr")
    found = run("verify", "--root", root)
    assert found.exit_code == 0 and "no assets.extra/metadata.json" in found.stdout
    other = shutil.copytree(tiny, tmp_path / "other")
    (other / "assets.extra" / "model.json").write_text('{"classes": ["A", "B", "C"]}')
    version = push(other, root / "serving" / "cxr")
    found = run("verify", "cxr", version.name, "--root", root)
    assert found.exit_code == 1
    assert "gives probabilities [2, 2], promised are [2, 3]" in found.stdout


FALSE = (
    ("network_data_format.outputs.probabilities.value_range", [0, 0.1], "promised are 0 to 0.1"),
    (
        "network_data_format.inputs.image.spatial_shape",
        [3, 3],
        "pixels takes image (None, 2, 2, 3)",
    ),
    ("network_data_format.signature", "gone", "it has no signature gone"),
    ("serving_data_format.outputs.attention", PROBABILITIES, "serving_default gives no attention"),
    (
        "network_data_format.outputs.probabilities.channel_def",
        {"0": "Mark", "1": "Mean"},
        "has other classes than",
    ),
    ("synthetic", None, "synthetic: None is not of type 'boolean'"),
)


@pytest.mark.tf
@pytest.mark.parametrize(("field", "value", "said"), FALSE, ids=[case[2][:20] for case in FALSE])
def test_a_false_promise_is_a_line(field, value, said, tiny, tmp_path):
    from cxrflow.components.publish.verify import verify

    fields = json.loads(json.dumps(metadata()))
    *path, last = field.split(".")
    inner = fields
    for name in path:
        inner = inner[name]
    inner[last] = value
    card = tmp_path / "card"
    card.mkdir()
    (card / "metadata.json").write_text(json.dumps(fields))
    found = verify(push(tiny, tmp_path / "cxr", card=card))
    assert len(found.faults) == 1 and said in found.faults[0]


@pytest.mark.tf
def test_what_is_no_graph_is_a_line(fake):
    from cxrflow.components.publish.verify import verify

    (fault,) = verify(fake).faults
    assert fault.startswith("it can't be loaded: ") and "\n" not in fault


def test_what_isnt_there_is_named(fake, tmp_path):
    root = tmp_path / "root"
    for arguments, said in (
        (["verify", "lungs"], "no model lungs"),
        (["verify", "cxr", "7"], "no version 7"),
        (["verify", "--key", str(tmp_path / "gone")], "the key .*gone can't be read"),
    ):
        found = run(*arguments, "--root", root)
        with pytest.raises(CxrflowError, match=said):
            raise found.exception
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "there is no model in" in str(run("verify", "--root", empty).exception)
