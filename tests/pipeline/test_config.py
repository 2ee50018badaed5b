"""Profiles, overrides, and errors that name the field."""

import pytest
import yaml

from cxrflow.pipeline import config
from cxrflow.pipeline.config_page import page
from cxrflow.schema.classes import CLASSES_14, DEFAULT_CLASSES
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.image_rules import ImageLimits
from cxrflow.schema.setting_docs import describe
from cxrflow.serving.settings import ServerConfig


@pytest.mark.parametrize("name", ["demo", "nih_mini", "nih_sample", "nih_baseline", "nih"])
def test_shipped_profile_loads(name: str) -> None:
    assert config.load(name).name == "cxrflow"


def test_profiles_are_all_listed() -> None:
    assert config.profiles() == [
        "demo",
        "nih",
        "nih_baseline",
        "nih_mini",
        "nih_sample",
        "own",
        "study",
    ]


def test_defaults() -> None:
    settings = config.parse({})
    assert settings.ingest.classes == DEFAULT_CLASSES
    assert len(DEFAULT_CLASSES) == 13
    assert "Hernia" not in DEFAULT_CLASSES
    assert settings.transform.image_size == 512
    assert settings.ingest.cohort == "all"


def test_overrides_win_over_the_profile() -> None:
    settings = config.load("demo", ["train.epochs=3", "train.learning_rate=1e-3", "name=mine"])
    assert settings.train.epochs == 3
    assert settings.train.learning_rate == 0.001
    assert settings.name == "mine"


def test_override_with_a_list_and_with_nothing() -> None:
    fourteen = ",".join(CLASSES_14)
    settings = config.load("demo", [f"ingest.classes=[{fourteen}]", "train.weights_dir="])
    assert settings.ingest.classes == CLASSES_14
    assert settings.train.weights_dir == ""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=3", "there is no setting train.epoch"),
        ("nonsense=1", "there is no setting nonsense"),
        ("train.epochs=many", "train.epochs: input should be a valid integer"),
        ("train.epochs=0", "train.epochs: input should be greater than or equal to 1"),
        ("train=3", "train: input should be"),
        ("name=x.y", "name: string should match pattern"),
        ("train.epochs.x=3", "train.epochs"),
        ("train.epochs", "write it as section.name=value"),
        ("=3", "write it as section.name=value"),
        ("train.head=rnn", "train.head: input should be"),
        ("ingest.classes=[Mass,Cough]", "ingest.classes.1: input should be"),
        ("ingest.classes=[]", "ingest.classes: "),
        ("ingest.classes=[Mass,Mass]", "ingest: classes names a class twice"),
        ("ingest.min_side=6000", "ingest: min_side 6000 is above max_side 5120"),
        ("ingest.max_side=8000", "ingest: max_side 8000 is above 5120: models refuse such images"),
        ("ingest.min_side=16", "ingest: min_side 16 is below 64: models refuse such images"),
        (
            "ingest.max_bytes=99999999",
            "ingest: max_bytes 99999999 is above 16777216: models refuse",
        ),
        ("ingest.eval_share=1", "ingest.eval_share: input should be less than 1"),
        ("train.image_size=600", "train.image_size 600 is above transform.image_size"),
        ("floor.image_size=16", "floor.image_size 16 is too small for MobileNet, which needs 32"),
        ("evaluate.min_auc_per_class.Cough=.6", "evaluate.min_auc_per_class names ['Cough']"),
        ("evaluate.slices=[hospital]", "evaluate.slices.0: input should be"),
        ("name=a/b", "name: string should match pattern"),
        ("edge.model=big", "edge.model is 'big', not one of attention, lse, ensemble"),
        ("distill.member=big", "distill.member is 'big', not one of models, which are attention"),
        ("distill.soft_share=1.5", "distill.soft_share: input should be less than or equal to 1"),
        ("edge.graph_weights=float8", "edge.graph_weights: input should be"),
    ],
)
def test_error_names_the_field(override: str, message: str) -> None:
    with pytest.raises(CxrflowError) as error:
        config.load("demo", [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["train.epoch=3"],
            "--set train.epoch=3: there is no setting train.epoch: did you mean train.epochs?",
        ),
        (["epochs=3"], "--set epochs=3: there is no setting epochs: did you mean train.epochs?"),
        (
            ["trian.epochs=3"],
            "--set trian.epochs=3: there is no setting trian: did you mean train?",
        ),
        (
            ["models.attention.haed=lse"],
            "--set models.attention.haed=lse: there is no setting models.attention.haed: did you "
            "mean models.attention.head?",
        ),
        (
            ["zzz=1"],
            "--set zzz=1: there is no setting zzz: `cxrflow config show` lists all",
        ),
        (
            ["train.seed=1", "train.epochs=0"],
            "--set train.epochs=0: train.epochs: input should be greater than or equal to 1, not 0",
        ),
        (
            ["train.seed=1", "ingest.min_side=6000"],
            "--set ingest.min_side=6000: ingest: min_side 6000 is above max_side 5120",
        ),
        (
            ["train.seed=1", "train.image_size=600"],
            "--set train.image_size=600: attention: train.image_size 600 is above "
            "transform.image_size 256: the detail isn't there",
        ),
        (
            ["train.epochs=0", "train.batch_size=0"],
            "--set train.epochs=0: train.epochs: input should be greater than or equal to 1, not 0 "
            "(and 1 more)",
        ),
    ],
)
def test_one_mistake_is_one_error_that_names_the_override(overrides: list[str], line: str) -> None:
    with pytest.raises(CxrflowError) as error:
        config.load("demo", overrides)
    assert str(error.value) == line


def test_mistake_in_a_file_names_the_file_whatever_is_set(tmp_path) -> None:
    (tmp_path / "p.yaml").write_text("train: {epoch: 7}\n")
    with pytest.raises(CxrflowError) as error:
        config.load(str(tmp_path / "p.yaml"), ["train.seed=1"])
    assert str(error.value) == (
        f"{tmp_path}/p.yaml: there is no setting train.epoch: did you mean train.epochs?"
    )


def test_an_override_can_mend_a_file(tmp_path) -> None:
    (tmp_path / "p.yaml").write_text("train: {image_size: 600}\n")
    settings = config.load(str(tmp_path / "p.yaml"), ["transform.image_size=600"])
    assert settings.train.image_size == 600


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"train: {epochs: 1}\ntrain: {seed: 2}\n", "'train' stands there twice"),
        (b"train:\n  epochs: 1\n  epochs: 2\n", "'epochs' stands there twice"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"train: \x00", "is not YAML"),
        (b"a: &a [*a]", "there is no setting a"),
        (b"1: 2\n", "1: keys should be strings"),
        (b"? [a, b]\n: 3\n", "p.yaml"),
        (b"train: {epochs: 9999-99-99}", "p.yaml"),
        (b"[" * 5000, "is not YAML"),
    ],
)
def test_odd_profile_file_is_one_line(tmp_path, content: bytes, line: str) -> None:
    (tmp_path / "p.yaml").write_bytes(content)
    with pytest.raises(CxrflowError) as error:
        config.load(str(tmp_path / "p.yaml"))
    assert "p.yaml" in str(error.value)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_profile_that_is_a_folder(tmp_path) -> None:
    (tmp_path / "p.yaml").mkdir()
    with pytest.raises(CxrflowError, match="is no file: name a YAML file"):
        config.load(str(tmp_path / "p.yaml"))


@pytest.mark.parametrize("name", config.profiles())
def test_page_of_all_settings_is_the_profile_itself(name: str) -> None:
    settings = config.load(name)
    assert config.parse(yaml.safe_load(page(settings))) == settings


def test_page_says_meaning_type_and_default() -> None:
    text = page(config.load("demo", ["train.epochs=3"]))
    assert (
        "  # Passes over the training images, at most. (integer, at least 1) Default: 20.\n"
        "  epochs: 3\n"
    ) in text
    assert "  lse: {head: lse, seed: 1}\n" in text


@pytest.mark.parametrize("settings", [config.parse({}), ServerConfig()], ids=["run", "server"])
def test_every_setting_says_what_it_means(settings) -> None:
    assert [s.name for s in describe(settings) if not s.meaning.endswith(".")] == []


def test_profiles_are_joined(tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text("train: {epochs: 3}\nbeam: {workers: 4}\n")
    joined = config.load(f"demo+external+{tmp_path}/mine.yaml", ["train.seed=7"])
    demo, engine = config.load("demo"), config.load("external")
    assert joined.beam.args == engine.beam.args and joined.beam.workers == 4
    assert (joined.train.epochs, joined.train.seed) == (3, 7)
    assert joined.phantom == demo.phantom and joined.models.keys() == demo.models.keys()
    assert joined.train.learning_rate == demo.train.learning_rate
    assert str(config.run_folder("demo+flink")) == "runs/demo"  # the engine changes no result
    assert str(config.run_folder("there/own.yaml")) == "runs/own"


def test_a_mistake_in_joined_profiles_names_them(tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text("train: {epoch: 3}\n")
    with pytest.raises(
        CxrflowError, match=r"demo\.yaml \+ .*mine\.yaml: there is no .*train.epoch"
    ):
        config.load(f"demo+{tmp_path}/mine.yaml")
    with pytest.raises(CxrflowError, match="no profile 'prisn', did you mean prism"):
        config.load("demo+prisn")


def test_unknown_profile_lists_the_known() -> None:
    with pytest.raises(CxrflowError, match="demo, nih, nih_baseline, nih_mini, nih_sample"):
        config.load("nope")


@pytest.mark.parametrize("text", ["train: [", "just words", "- a\n- b"])
def test_profile_file_that_is_no_mapping(tmp_path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(CxrflowError) as error:
        config.load(str(tmp_path / "p.yaml"))
    assert "p.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_profile_file_of_ones_own(tmp_path) -> None:
    (tmp_path / "p.yaml").write_text("train: {epochs: 7}\n")
    assert config.load(str(tmp_path / "p.yaml")).train.epochs == 7


def test_to_dict_and_back() -> None:
    settings = config.load("demo", ["evaluate.min_auc_per_class.Mass=.6", "models.more.seed=7"])
    assert config.parse(config.to_dict(settings)) == settings


def test_members_take_what_they_do_not_say_from_train() -> None:
    models = {"wide": None, "narrow": {"alpha": 0.75, "epochs": 2}}
    settings = config.parse({"train": {"epochs": 9, "head": "simple"}, "models": models})
    assert list(settings.members) == ["wide", "narrow"]
    assert settings.members["wide"] == settings.train
    narrow = settings.members["narrow"]
    assert (narrow.alpha, narrow.epochs, narrow.head) == (0.75, 2, "simple")


def test_one_model_is_named_for_what_it_builds() -> None:
    assert list(config.parse({}).members) == ["mobilenet_attention"]


DENSE, WIDE = {"backbone": "DenseNet121"}, {"backbone": "MobileNet"}
TWO = {"a": DENSE, "b": WIDE}


def test_a_cross_fitted_ensemble_teaches_nobody() -> None:
    with pytest.raises(CxrflowError, match=r"distill\.member: a cross-fitted ensemble has learned"):
        config.load("nih_mini", ["distill.member=mobilenet"])


def test_a_probe_is_not_taught() -> None:
    """The teacher's word on other patients would choose its strength."""
    with pytest.raises(CxrflowError, match=r"distill\.member: mobilenet is a probe, which learns"):
        config.load("nih_mini", ["distill.member=mobilenet", "train.cross_fit=0"])
    student = {"mobilenet": {"head": "probe"}, "student": {"backbone": "MobileNet"}}
    settings = config.parse({"models": student, "distill": {"member": "student"}})
    assert settings.edge_model == "distilled"


@pytest.mark.parametrize(
    ("values", "pushed", "edge", "networks"),
    [
        ({}, "mobilenet_attention", "mobilenet_attention", ["mobilenet_attention"]),
        ({"train": DENSE}, *["densenet121_attention"] * 2, ["densenet121_attention"]),
        ({"models": {"a": DENSE, "b": WIDE, "c": {"seed": 1}}}, "ensemble", "b", ["b"]),
        ({"models": {"a": DENSE, "b": {**DENSE, "seed": 1}}}, *["ensemble"] * 2, ["a", "b"]),
        ({"models": TWO, "edge": {"model": "a"}}, "ensemble", "a", ["a"]),
        ({"models": TWO, "edge": {"model": "a", "enabled": False}}, "ensemble", "a", []),
        ({"models": TWO, "distill": {"member": "b"}}, "ensemble", "distilled", ["b"]),
        ({"models": TWO, "edge": {"model": "ensemble"}}, "ensemble", "ensemble", ["a", "b"]),
    ],
)
def test_which_model_is_pushed_and_which_goes_to_the_device(
    values: dict[str, object], pushed: str, edge: str, networks: list[str]
) -> None:
    settings = config.parse(values)
    assert (settings.pushed_model, settings.edge_model) == (pushed, edge)
    assert list(settings.exported_members) == networks


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"a": {}}, "models has one member, a: name at least two"),
        ({"a": {}, "mean": {"seed": 1}}, "models.mean: the name has a meaning of its own"),
        ({"a": {}, "ensemble": {"seed": 1}}, "models.ensemble: the name has a meaning of its own"),
        ({"a": {}, "b": {"image_size": 128}}, "different image sizes (a 224, b 128)"),
        ({"a": {}, "b": {}}, "models.a and models.b are the same: give one another seed"),
        ({"a": {}, "b": {"head": "rnn"}}, "models.b.head: input should be"),
        ({"a": {}, "b": {"backbone": "AlexNet"}}, "models.b.backbone: input should be"),
        ({"a": {}, "b": {"image_size": 600}}, "b: train.image_size 600 is above transform"),
        ({"a": {}, "b": 3}, "models.b: input should be"),
        ({"a": {}, "B": {"seed": 1}}, "models.B"),
        ([1, 2], "models: input should be"),
    ],
)
def test_ensemble_that_cannot_be(models: object, message: str) -> None:
    with pytest.raises(CxrflowError) as error:
        config.parse({"models": models})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_can_be_trained_on_can_be_served() -> None:
    ingest, served = config.parse({}).ingest, ImageLimits()
    for name in ("min_side", "max_side", "max_bytes"):
        assert getattr(ingest, name) == getattr(served, name)
