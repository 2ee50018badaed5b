"""A run's settings: frozen dataclasses that check themselves."""

from collections.abc import Iterable
from dataclasses import field
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from cxrflow.components.card.settings import CardConfig
from cxrflow.components.edge.export.settings import EdgeConfig
from cxrflow.components.ensemble.settings import ENSEMBLE, METHODS, EnsembleConfig, final_model
from cxrflow.components.evaluate.limits import FinalLimits, MemberLimits
from cxrflow.components.floor.settings import FloorConfig, floor_recipe
from cxrflow.components.ingest.settings import IngestConfig
from cxrflow.components.ingest.source.settings import DataConfig
from cxrflow.components.localise.settings import LocaliseConfig
from cxrflow.components.model.backbones import BACKBONES
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.model.settings import CalibrateConfig, OutOfDistributionConfig
from cxrflow.components.publish.settings import PublishConfig, ServingCheckConfig
from cxrflow.components.study.settings import StudyConfig
from cxrflow.components.transform.settings import TransformConfig
from cxrflow.components.validate.settings import ValidateConfig
from cxrflow.pipeline.cluster import ClusterConfig
from cxrflow.pipeline.metadata_server import MetadataConfig
from cxrflow.schema.classes import CLASSES_14
from cxrflow.schema.paths import require_bucket
from cxrflow.schema.settings import Count, Fraction, Positive, Rate, settings

DISTILLED = "distilled"  # the model that the ensemble teaches, among the names of models
BeamOption = Annotated[str, Field(pattern=r"^--[A-Za-z]\w*(=|$)")]
ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


@settings
class PhantomConfig:
    """Synthetic data that a run makes for itself when no data folder is given."""

    patients: Count = 0
    """Synthetic patients that the run draws for itself; 0: none, the run needs --data."""
    seed: Count = 0
    """Seed of the drawing, which gives the same bytes each time."""
    prevalence_scale: Rate = 1.0
    """Multiplies every finding's prevalence, so that small sets have enough of each."""
    min_severity: Fraction = 0.0
    """Mildest finding that is drawn: 0 is just visible, 1 plain."""


@settings
class EvaluateConfig(FinalLimits):
    """What the gate demands, and for which groups TFMA computes scores of their own."""

    members: MemberLimits = field(default_factory=MemberLimits)
    """What an ensemble's member must reach on eval to join."""
    slices: tuple[Literal["patient/sex", "view", "age_band"], ...] = (
        "patient/sex",
        "view",
        "age_band",
    )
    """Groups for which the evaluation gives scores of their own, beside those of `data.slices`."""
    min_shown: Positive = 10
    """Positive (and negative) images below which the dashboard shows no AUC of a class."""


# Runners whose workers are this process or its children.
_NEAR = {
    *("", "directrunner", "fnapirunner", "bundlebaseddirectrunner", "prismrunner"),
    "forking_runner",  # of pipeline/beam_workers.py
}


def runner_of(args: Iterable[str]) -> str:
    """The runner that Beam's options name last, in lower case ("flinkrunner"); empty if none."""
    named = [arg.partition("=")[2] for arg in args if arg.startswith("--runner=")]
    name = (named or [""])[-1].rpartition(".")[2].lower()
    return name if not name or name.endswith("runner") else f"{name}runner"  # as Beam reads it


def is_remote(args: Iterable[str]) -> bool:
    """Whether Beam's options name a runner whose workers may be elsewhere."""
    return runner_of(args) not in _NEAR


@settings
class BeamConfig:
    """How Beam runs inside the data steps."""

    workers: Positive = 1
    """Processes of the data steps; one uses several cores by itself, see docs/scale.md."""
    args: tuple[BeamOption, ...] = ()
    """Options of Beam's own, such as --runner=PortableRunner; see docs/scale.md."""
    nodes: dict[str, tuple[BeamOption, ...]] = field(default_factory=dict)
    """Options of Beam's for single nodes by their ids, such as Transform; they win."""

    @property
    def is_remote(self) -> bool:
        """Whether some node's workers may be elsewhere."""
        return any(is_remote(args) for args in (self.args, *self.nodes.values()))


@settings
class StorageConfig:
    """Where a run's artifacts are kept."""

    artifacts: str = ""
    """A bucket and a folder in it, gs://BUCKET/FOLDER, that no other root uses; empty: the root.
    Nodes work on copies in the root. See docs/scale.md."""

    @field_validator("artifacts")
    @classmethod
    def _known(cls, uri: str) -> str:
        if uri:
            require_bucket(uri)
        return uri.rstrip("/")


@settings
class DistillConfig:
    """A small network that learns what the ensemble says, for devices."""

    member: str = ""
    """Member whose recipe is trained once more, taught by the ensemble; the edge bundle is made of
    it. No probe. Empty: none."""
    soft_share: Fraction = 0.5
    """Share of the ensemble's probabilities in what it learns; the rest are the labels."""


@settings
class PipelineConfig:
    """Everything one run needs besides its data folder and its root folder."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")] = "cxrflow"
    """Name of the served model."""
    phantom: PhantomConfig = field(default_factory=PhantomConfig)
    """Synthetic X-rays that a run without --data makes."""
    data: DataConfig | None = None
    """What describes the data folder: a mapping, a YAML file, or chexpert, mimic_cxr, nih,
    padchest, vindr_cxr. Nothing: the folder's own data.yaml, or NIH's X-rays in Kaggle's layout."""
    ingest: IngestConfig = field(default_factory=IngestConfig)
    """What is read and refused, and how it is split."""
    validate: ValidateConfig = field(default_factory=ValidateConfig)
    """How far the splits' distributions may lie apart (0 to 1), beyond chance."""
    transform: TransformConfig = field(default_factory=TransformConfig)
    """The compact image that all later steps read."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """The training recipe; with `models`, what all of them share."""
    models: dict[ModelName, TrainConfig] = field(default_factory=dict)
    """Members of an ensemble by name; each says only what it changes of `train`."""
    calibrate: CalibrateConfig = field(default_factory=CalibrateConfig)
    """Probabilities and operating points."""
    out_of_distribution: OutOfDistributionConfig = field(default_factory=OutOfDistributionConfig)
    """How a served model tells that an image is no chest X-ray like those of the training."""
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    """How members are combined."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """The edge bundle's network, taught by the ensemble."""
    study: StudyConfig = field(default_factory=StudyConfig)
    """Budget and grids of `cxrflow study`."""
    floor: FloorConfig = field(default_factory=FloorConfig)
    """The simplest models, which the one that is pushed has to beat."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """What the gate demands."""
    localise: LocaliseConfig = field(default_factory=LocaliseConfig)
    """How attention maps are scored against radiologists' boxes."""
    serving_check: ServingCheckConfig = field(default_factory=ServingCheckConfig)
    """The check in a real server before a push, and its budget."""
    card: CardConfig = field(default_factory=CardConfig)
    """What the model card says that no figure tells."""
    publish: PublishConfig = field(default_factory=PublishConfig)
    """What a push leaves in the serving folder."""
    edge: EdgeConfig = field(default_factory=EdgeConfig)
    """The bundle for devices."""
    beam: BeamConfig = field(default_factory=BeamConfig)
    """How Beam runs the data steps."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """What a node gets on a cluster."""
    metadata: MetadataConfig = field(default_factory=MetadataConfig)
    """Where ML Metadata keeps what ran."""
    storage: StorageConfig = field(default_factory=StorageConfig)
    """Where artifacts are kept."""

    @model_validator(mode="after")
    def _consistent(self) -> "PipelineConfig":
        self._check_classes()
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
        if self.floor.image_size > self.transform.image_size:
            raise ValueError(
                f"floor.image_size {self.floor.image_size} is above transform.image_size "
                f"{self.transform.image_size}: the detail isn't there"
            )
        first = next(iter(self.members.values()))
        least = BACKBONES[first.backbone].min_size
        if 0 < self.floor.image_size < least:
            raise ValueError(
                f"floor.image_size {self.floor.image_size} is too small for {first.backbone}, "
                f"which needs {least}"
            )
        self._check_ensemble()
        if self.distill.member and self.distill.member not in self.models:
            named = ", ".join(self.models) or "none: an ensemble teaches, name its members there"
            raise ValueError(
                f"distill.member is {self.distill.member!r}, not one of models, which are {named}"
            )
        if self.distill.member and any(recipe.cross_fit for recipe in self.models.values()):
            raise ValueError(
                "distill.member: a cross-fitted ensemble has learned from eval, by which its "
                "student would be judged; set train.cross_fit to 0"
            )
        if self.distill.member and self.models[self.distill.member].head == "probe":
            raise ValueError(
                f"distill.member: {self.distill.member} is a probe, which learns nothing from a "
                "teacher (docs/decisions/probe.md); name a member with another head"
            )
        known = list(dict.fromkeys([*self.members, self.pushed_model]))
        known += [DISTILLED] if self.distill.member else []
        if self.edge.model and self.edge.model not in known:
            raise ValueError(f"edge.model is {self.edge.model!r}, not one of {', '.join(known)}")
        return self

    def _check_classes(self) -> None:
        known = self.data.labels.names if self.data else CLASSES_14
        for place, name in enumerate(self.ingest.classes):
            if name not in known:
                raise ValueError(
                    f"ingest.classes.{place}: input should be one of {', '.join(known)}, not "
                    f"{name!r}"
                )

    def _check_ensemble(self) -> None:
        if len(self.models) == 1:
            raise ValueError(
                f"models has one member, {next(iter(self.models))}: name at least two for an "
                "ensemble, or set its recipe under train and leave models out"
            )
        reserved = sorted(set(self.models) & {ENSEMBLE, DISTILLED, *METHODS})
        if reserved:
            raise ValueError(
                f"models.{reserved[0]}: the name has a meaning of its own; take another"
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
    def floor_recipe(self) -> TrainConfig:
        """Recipe of the network whose features the baselines see."""
        return floor_recipe(self.floor, next(iter(self.members.values())))

    @property
    def pushed_model(self) -> str:
        """Name of the model that is judged on test and served: the ensemble, or the only one."""
        return final_model(self.members)

    @property
    def edge_model(self) -> str:
        """Name of the model that the edge bundle is made of: a member's, "ensemble" or
        "distilled"."""
        if self.distill.member:
            return self.edge.model or DISTILLED
        small = [name for name, recipe in self.members.items() if recipe.backbone == "MobileNet"]
        return self.edge.model or (small or [self.pushed_model])[0]

    @property
    def exported_members(self) -> tuple[str, ...]:
        """Names of the members whose networks, or whose recipe taught anew, the edge bundle is made
        of."""
        if not self.edge.enabled:
            return ()
        if self.edge_model == DISTILLED:
            return (self.distill.member,)
        return (self.edge_model,) if self.edge_model in self.members else tuple(self.members)


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
