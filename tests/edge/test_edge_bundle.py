"""Which folders are bundles, and what goes into one."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bundle as bundles
import description
from cxrflow.components.edge.device import device_files
from tests.edge.bundles import VERSION, model_info, sign, variant, write_bundle


@pytest.fixture
def made(tmp_path: Path) -> Path:
    info = model_info({"litert_fp32": variant("model_fp32.tflite", "litert")})
    return write_bundle(tmp_path / "bundle", info, {"model_fp32.tflite": b"network"})


def test_a_bundle_opens_under_any_name(made: Path) -> None:
    bundle = bundles.open_bundle(str(made))
    assert bundle.version == VERSION
    assert bundle.path("litert_fp32") == str(made / "model_fp32.tflite")
    assert bundle.preprocessing.compact_size == 64
    assert set(bundle.sha256) == {p.relative_to(made).as_posix() for p in _files(made)}


def test_other_files_beside_it_dont_matter(made: Path) -> None:
    (made / "results.csv").write_text("mine")
    assert bundles.open_bundle(str(made)).version == VERSION


def _link(made: Path) -> None:
    (made / "elsewhere").write_bytes(b"network")
    (made / "model_fp32.tflite").unlink()
    (made / "model_fp32.tflite").symlink_to("elsewhere")


def _list_outside(made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["files"].append({"path": "../secret", "size": 0, "sha256": "0"})
    (made / "manifest.json").write_text(json.dumps(manifest))


def _say(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def say(made: Path) -> None:
        info = json.loads((made / "model.json").read_text())
        change(info)
        (made / "model.json").write_text(json.dumps(info))
        sign(made)

    return say


def _drop_model_json(made: Path) -> None:
    (made / "model.json").unlink()
    sign(made)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda d: (d / "model_fp32.tflite").write_bytes(b"netWork"), "model_fp32.tflite was chan"),
        (lambda d: (d / "model_fp32.tflite").unlink(), "model_fp32.tflite is missing"),
        (lambda d: (d / "infer.py").write_bytes(b""), "infer.py was changed"),
        (lambda d: (d / "manifest.json").unlink(), "no edge bundle: manifest.json: No such file"),
        (lambda d: (d / "manifest.json").write_text("{"), "no edge bundle: manifest.json: Expect"),
        (lambda d: (d / "manifest.json").write_text("{}"), "manifest.json: lacks 'files'"),
        (lambda d: (d / "manifest.json").write_text("[]"), "manifest.json: "),
        (_link, "model_fp32.tflite is missing"),
        (_list_outside, "../secret lies outside of it"),
        (_drop_model_json, "model.json: lacks"),
        (_say(lambda info: info.pop("preprocessing")), "model.json: lacks 'preprocessing'"),
        (_say(lambda info: info["preprocessing"].pop("max_side")), "model.json: .*max_side"),
        (_say(lambda info: info.pop("variants")), "model.json: lacks 'variants'"),
        (_say(lambda info: info.update(classes=[])), "classes is no list of different names"),
        (_say(lambda info: info.update(image_size=33)), "model.json: contradicts itself"),
        (
            _say(lambda info: info["variants"].update(x=variant("../x", "litert"))),
            "model.json: contradicts itself",
        ),
    ],
)
def test_what_is_no_whole_bundle_is_refused(
    made: Path, spoil: Callable[[Path], Any], reason: str
) -> None:
    spoil(made)
    with pytest.raises(bundles.Refused, match=reason) as caught:
        bundles.open_bundle(str(made))
    assert "\n" not in str(caught.value)


def _places(value: Any, place: tuple = ()) -> Iterator[tuple]:
    yield place
    items = value.items() if isinstance(value, dict) else ()
    for key, one in enumerate(value) if isinstance(value, list) else items:
        yield from _places(one, (*place, key))


_ODD = (None, True, 0, -1, 3.5, 10**30, "", "x", "5", [], [1], [None], {}, {"a": 1}, {"a": {}})


def test_model_json_of_wrong_types_is_refused_or_does_no_harm(made: Path) -> None:
    """Every value of it replaced by every odd one."""
    import results

    right = json.loads((made / "model.json").read_text())
    files = {"model_fp32.tflite"}
    refused = used = 0
    for place in list(_places(right)):
        for odd in _ODD:
            info = {"": copy.deepcopy(right)}
            at: Any = info
            for key in ("", *place)[:-1]:
                at = at[key]
            at[("", *place)[-1]] = odd
            try:
                if not isinstance(info[""], dict):
                    raise description.Malformed("no object")
                description.verify(info[""], files)
            except description.Malformed as error:
                refused += 1
                assert "\n" not in str(error)
                continue
            used += 1
            bundle = bundles.Bundle(str(made), 1, info[""], {})
            model = results.Model(bundle, "litert_fp32", "youden")
            row = model.answer("/x.png", [0.5] * len(model.classes))
            assert model.csv_line(row)
            assert bundle.preprocessing.image_size == 32
    assert refused > 300 and used > 100


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"classes": NaN}', "NaN is no number"),
        (b"[" * 100_000, "too deep"),
        (b"[]", "no JSON object"),
        (b"\xff", "utf-8"),
        (b"", "Expecting value"),
    ],
)
@pytest.mark.parametrize("name", ["model.json", "manifest.json"])
def test_json_that_is_none_is_refused(made: Path, content: bytes, reason: str, name: str) -> None:
    (made / name).write_bytes(content)
    if name == "model.json":
        sign(made)
    with pytest.raises(bundles.Refused, match=reason) as caught:
        bundles.open_bundle(str(made))
    assert name in str(caught.value)


def test_a_newer_format_is_named_whatever_else_it_says(made: Path) -> None:
    (made / "model.json").write_text('{"bundle_format": 3, "classes": 5}')
    sign(made)
    with pytest.raises(bundles.Refused, match="of format 3, these scripts read 2 and before"):
        bundles.open_bundle(str(made))


def test_a_variant_that_was_not_blessed_is_refused(made: Path) -> None:
    with pytest.raises(bundles.Refused, match=re.escape("no variant 'litert_int8': it has litert")):
        bundles.open_bundle(str(made)).path("litert_int8")


def test_a_bundle_gets_the_scripts_and_nothing_else() -> None:
    names = {path.name for path in device_files()}
    assert {"infer.py", "bundle.py", "images.py", "engines.py", "results.py", "labels.py"} <= names
    assert "__init__.py" not in names
    assert not any("__pycache__" in str(path) for path in device_files())


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"]
