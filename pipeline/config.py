"""A run's settings: frozen dataclasses, loaded from a YAML profile and checked as they load."""

from collections.abc import Iterable
from dataclasses import asdict, field
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from components.edge_export.settings import EdgeConfig
from components.ensemble.settings import METHODS, EnsembleConfig
from components.evaluate.gate import Limits
from components.publish.settings import PublishConfig, ServingCheckConfig
from components.train.recipe import TrainConfig
from components.tune.settings import TuneConfig
from schema.classes import CLASSES_14, DEFAULT_CLASSES
from schema.errors import CxrflowError
from schema.settings import Count, Fraction, Pixels, Positive, Rate, Share, settings

PROFILES = Path(__file__).parent / "profiles"
ENSEMBLE = "ensemble"  # the name of the combined model

ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


@settings
class PhantomConfig:
    """Synthetic data that a run makes for itself when no data folder is given."""

    patients: Count = 0  # 0: none, the run needs --data
    seed: Count = 0
    prevalence_scale: Rate = 1.0  # raises every finding's prevalence


@settings
class IngestConfig:
    """What ImageExampleGen reads and refuses, and how it splits."""

    classes: tuple[Literal[CLASSES_14], ...] = Field(DEFAULT_CLASSES, min_length=1)
    cohort: Literal["all", "findings"] = "all"  # findings: only images with one of the classes
    split: Literal["auto", "official", "hash"] = "auto"  # auto: official where the lists lie
    eval_share: Share = 0.15  # of the patients outside test
    test_share: Share = 0.2  # of all patients; used without official lists
    split_salt: str = "cxrflow"  # another salt makes another split
    max_bad_share: Share = 0.01  # of images in quarantine, then the run stops
    # Served images are held to serving.images.ImageLimits, whatever stands here.
    min_side: Positive = 64  # pixels
    max_side: Positive = 5120
    max_bytes: Positive = 16 * 2**20

    @model_validator(mode="after")
    def _consistent(self) -> "IngestConfig":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes names a class twice")
        if self.min_side > self.max_side:
            raise ValueError(f"min_side {self.min_side} is above max_side {self.max_side}")
        return self


@settings
class ValidateConfig:
    """Limits on the distance between splits, from 0 to 1, beyond chance (3 / sqrt(images))."""

    max_eval_distance: Fraction = 0.1  # eval against train
    max_test_distance: Fraction = 0.3  # the official test list differs by design


@settings
class TransformConfig:
    """The compact image that Transform writes and all later steps read."""

    image_size: Pixels = 512  # pixels, square
    encoding: Literal["jpeg", "raw"] = "jpeg"
    jpeg_quality: int = Field(95, ge=1, le=100)


@settings
class CalibrateConfig:
    """How logits become probabilities, and which operating points model.json names."""

    method: Literal["platt", "none"] = "platt"  # fitted on eval, per class
    sensitivity: Fraction = 0.9  # of the operating point with a fixed sensitivity
    specificity: Fraction = 0.9


@settings
class MemberLimits(Limits):
    """What an ensemble's member must reach on eval, where a class alone is too noisy."""

    min_auc: Fraction = 0.0
    min_positives: Positive = 10


@settings
class EvaluateConfig(Limits):
    """What the gate demands on test, and for which groups TFMA computes scores of their own."""

    members: MemberLimits = field(default_factory=MemberLimits)
    slices: tuple[Literal["patient/sex", "view", "age_band"], ...] = (
        "patient/sex",
        "view",
        "age_band",
    )


@settings
class BeamConfig:
    """How Beam runs inside the data steps."""

    workers: Positive = 1  # processes; more than one pays from about 3,000 images


@settings
class PipelineConfig:
    """Everything one run needs besides its data folder and its root folder."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")] = "cxrflow"  # served model
    phantom: PhantomConfig = field(default_factory=PhantomConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    validate: ValidateConfig = field(default_factory=ValidateConfig)
    transform: TransformConfig = field(default_factory=TransformConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    models: dict[ModelName, TrainConfig] = field(default_factory=dict)  # in YAML: changes of train
    calibrate: CalibrateConfig = field(default_factory=CalibrateConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    serving_check: ServingCheckConfig = field(default_factory=ServingCheckConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    edge: EdgeConfig = field(default_factory=EdgeConfig)
    beam: BeamConfig = field(default_factory=BeamConfig)

    @model_validator(mode="after")
    def _consistent(self) -> "PipelineConfig":
        unknown = set(self.evaluate.min_auc_per_class) - set(self.ingest.classes)
        if unknown:
            raise ValueError(
                f"evaluate.min_auc_per_class names {sorted(unknown)}, not in ingest.classes"
            )
        for name, recipe in self.members.items():
            if recipe.image_size > self.transform.image_size:
                raise ValueError(
                    f"{name}: train.image_size {recipe.image_size} is above "
                    f"transform.image_size {self.transform.image_size}: the detail isn't there"
                )
        self._check_ensemble()
        known = list(dict.fromkeys([*self.members, self.pushed_model]))
        if self.edge.model and self.edge.model not in known:
            raise ValueError(f"edge.model is {self.edge.model!r}, not one of {', '.join(known)}")
        return self

    def _check_ensemble(self) -> None:
        if len(self.models) == 1:
            raise ValueError(
                f"models has one member, {next(iter(self.models))}: name at least two for an "
                "ensemble, or set its recipe under train and leave models out"
            )
        reserved = sorted(set(self.models) & {ENSEMBLE, *METHODS})
        if reserved:
            raise ValueError(
                f"models.{reserved[0]}: the name is an ensemble method's; take another"
            )
        sizes = {name: recipe.image_size for name, recipe in self.models.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"models have different image sizes ({_listed(sizes)}): an ensemble resizes each "
                "image once, give all one train.image_size"
            )
        same = [
            pair
            for pair in combinations(self.models, 2)
            if self.models[pair[0]] == self.models[pair[1]]
        ]
        if same:
            raise ValueError(
                f"models.{same[0][0]} and models.{same[0][1]} are the same: give one another seed"
            )

    @property
    def members(self) -> dict[str, TrainConfig]:
        """The recipes to train, by name: `models`, or `train` alone named for what it builds."""
        alone = f"{self.train.backbone}_{self.train.head}".lower()
        return self.models or {alone: self.train}

    @property
    def pushed_model(self) -> str:
        """Name of the model that is judged on test and served: the ensemble, or the only one."""
        return ENSEMBLE if self.models else next(iter(self.members))

    @property
    def edge_model(self) -> str:
        """Name of the model that the edge bundle is made of: a member's, or "ensemble"."""
        small = [name for name, recipe in self.members.items() if recipe.backbone == "MobileNet"]
        return self.edge.model or (small or [self.pushed_model])[0]


def profiles() -> list[str]:
    """Names of the profiles that ship with cxrflow."""
    return sorted(p.stem for p in PROFILES.glob("*.yaml"))


def load(profile: str, overrides: Iterable[str] = ()) -> PipelineConfig:
    """Reads a profile (a shipped name or a YAML file's path) with `key.sub=value` overrides.

    Raises:
        CxrflowError: names the field that is unknown, of the wrong type or in conflict.
    """
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else PROFILES / f"{profile}.yaml"
    if not path.is_file():
        raise CxrflowError(
            f"no profile {profile!r}: name one of {', '.join(profiles())} or a YAML file"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CxrflowError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise CxrflowError(f"{path} must hold `section:` blocks, such as `train:`")
    for override in overrides:
        _set(values, override)
    return parse(values, source=str(path))


def parse(values: dict[str, Any], source: str = "settings") -> PipelineConfig:
    """Checks a nested dict of settings; `source` names it in errors.

    Raises:
        CxrflowError: names the first field at fault, and how many more there are.
    """
    try:
        return TypeAdapter(PipelineConfig).validate_python(_with_whole_recipes(values))
    except ValidationError as error:
        first, *others = error.errors()
        more = f" (and {len(others)} more)" if others else ""
        raise CxrflowError(f"{source}: {_explain(first)}{more}") from None


def _with_whole_recipes(values: dict[str, Any]) -> dict[str, Any]:
    """Fills what a member under `models` doesn't say with what `train` says."""
    models, shared = values.get("models") or {}, values.get("train") or {}
    if not isinstance(models, dict) or not isinstance(shared, dict):
        return values
    whole = {
        name: {**shared, **(changes or {})} if isinstance(changes or {}, dict) else changes
        for name, changes in models.items()
    }
    return {**values, "models": whole}


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def to_dict(config: PipelineConfig) -> dict[str, Any]:
    """Plain values, as `parse` takes them."""
    return asdict(config)


def _explain(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "unexpected_keyword_argument":
        return f"there is no setting {name}"
    message = error["msg"].removeprefix("Value error, ")
    if not name:
        return message
    shown = "" if isinstance(error["input"], dict) else f", not {error['input']!r}"
    return f"{name}: {message[0].lower()}{message[1:]}{shown}"


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise CxrflowError(f"--set {override!r}: write it as section.name=value")
    *parents, leaf = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise CxrflowError(f"--set {key}: {parent} is no section")
    try:
        values[leaf] = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        values[leaf] = text
