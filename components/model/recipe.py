"""A training recipe: every choice of one model's training, as data."""

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from cxrflow.components.model.backbones import BACKBONES, BackboneName
from cxrflow.schema.settings import Count, Positive, Rate, Share, settings

# What a probe is made of; the rest of a recipe tells how a network is trained.
_OF_PROBE = {
    *("backbone", "alpha", "cut_at", "image_size", "color", "weights", "weights_dir"),
    "start_from",
    *("input", "head", "feature_layers", "cell_layers", "cells"),
    *("cross_fit", "second_level", "finetune_from"),
    "deterministic",
}


def _folds(value: Any) -> Any:
    if value != "auto" and (not isinstance(value, int) or value < 0 or value == 1):
        raise ValueError("should be a number of folds from 2 on, 0 or auto")
    return value


# Fields on which a frozen backbone's output depends; which layers are seen is the head's choice.
FROZEN = (
    *("backbone", "alpha", "cut_at", "color", "image_size"),
    *("weights", "weights_dir", "start_from"),
)


@settings
class TrainConfig:
    """The recipe of one model."""

    backbone: BackboneName = "MobileNet"
    """The network without its top."""
    alpha: Rate = 1.0
    """Width multiplier of MobileNet and MobileNetV2."""
    cut_at: str = ""
    """Backbone layer whose output the head sees, without the layers after it; empty: the last."""
    head: Literal["attention", "simple", "class_attention", "lse", "probe"] = "attention"
    """What turns the backbone's features into one logit a class; probe: logistic regression on
    means of frozen features."""
    image_size: int = Field(default=0, ge=0, le=4096)
    """Side of the square that the network sees, in pixels; 0: the backbone's own."""
    color: Literal["rgb", "gray"] = "rgb"
    """gray: the backbone sees one channel, the mean of three."""
    weights: Literal["imagenet", "none"] = "imagenet"
    """What the backbone starts from; none: random weights."""
    input: Literal["auto", "stored", "streamed"] = "auto"
    """Images of the network's size: stored on the disk before training, or read from Transform's
    records and decoded anew each time, which trains the same; auto: stored where that takes no more
    than half of what is free."""
    weights_dir: str = ""
    """Folder or h5 file with ImageNet weights; empty: Keras's own download."""
    start_from: str = ""
    """A pushed model whose backbone's weights training starts from, with a new head: a run's
    folder, a model's or a SavedModel's. It takes the place of `weights`."""
    seed: int = 0
    """Seed of weights, order and augmentation."""
    deterministic: bool = False
    """Whether one seed always gives the same bits; slower."""
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    """Precision of training; auto: mixed where there is a GPU. What is exported is float32."""
    epochs: Positive = 20
    """Passes over the training images, at most."""
    images_seen: Count = 0
    """End after so many training images, whatever the batch size; 0: epochs decide."""
    epoch_images: Count = 0
    """Training images after which an epoch ends and eval is scored; 0: all of them."""
    patience: Positive = 5
    """Epochs without a better mean eval AUC, after which training ends."""
    batch_size: Positive = 32
    """Images of one step."""
    accumulation_steps: Positive = 1
    """Batches whose mean gradient makes one update; warm-up and schedule count batches."""
    optimizer: Literal["adam", "adamw", "sgd", "adagrad", "adadelta"] = "adam"
    """The optimizer, by Keras's name."""
    momentum: Share = 0.9
    """Momentum of sgd; the other optimizers have none."""
    learning_rate: Rate = 5e-4
    """Learning rate at its full height, after warm-up."""
    backbone_lr_scale: Rate = 1.0
    """The backbone's learning rate as a share of the head's."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Each backbone layer's learning rate as a share of the next layer's."""
    warmup: Share = 0.0
    """Share of all steps in which the learning rate rises to its full height."""
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine: the learning rate falls to zero at the last step."""
    weight_decay: Share = 0.0
    """Decoupled, of kernels only; adam with it is adamw."""
    ema: Share = 0.0
    """Momentum of the averaged weights that are evaluated and kept; 0: no average."""
    dropout: Share = 0.5
    """Share of the head's inputs that are dropped in training."""
    lse_r: Rate = 10.0
    """How the lse head pools: near 0 the mean, high up the maximum."""
    loss: Literal["bce", "wcel", "focal"] = "bce"
    """bce: binary cross-entropy; wcel: weighted by class; focal: well-classified labels count
    less."""
    focal_gamma: Rate = 2.0
    """How much less well-classified labels count in the loss focal."""
    normal_weight: Rate = 1.0
    """Weight in the loss of an image without a finding; others weigh 1."""
    label_smoothing: Share = 0.0
    """Share by which labels move towards 0.5."""
    feature_layers: tuple[str, ...] = ()
    """Names of earlier backbone layers whose maps the head sees besides the last one."""
    cell_layers: tuple[str, ...] = ()
    """Those of feature_layers, or the last one, of which a probe takes means of cells too."""
    cells: int = Field(default=3, ge=2, le=16)
    """A probe divides the image into so many times so many cells."""
    second_level: bool = False
    """A probe's classes learn from the logits of all classes too, as findings come together."""
    cross_fit: Annotated[int | Literal["auto"], BeforeValidator(_folds)] = 0
    """Folds of train and eval, by patient. Each image is judged by a model of the other folds; the
    model that is kept has learned from all: the mean of the folds' networks, or one probe. 0:
    trained on train, judged on eval; auto: 5 folds up to 10,000 images."""
    finetune_from: str = ""
    """Backbone layer that is trained with all it feeds (of one that joins branches, what it feeds
    alone). default: the last stage; head: nothing; empty: everything."""
    head_epochs: Count = 0
    """Epochs before all others in which the head alone is trained."""
    head_learning_rate: Rate = 1e-3
    """Learning rate of those epochs."""
    batch_norm: Literal["train", "frozen"] = "train"
    """frozen: the backbone's batch norms keep their weights and statistics."""
    bn_momentum: Share = 0.99
    """Momentum of trained batch norms; .9 suits runs of few steps."""
    cached_views: Count = 0
    """Augmented copies of the frozen part's output that are stored; 0: computed anew."""
    rotation: float = 5.0
    """Augmentation: up to so many degrees either way."""
    shift: Share = 0.05
    """Augmentation: up to this share of the side."""
    zoom: Share = 0.1
    """Augmentation: up to this share in and out."""
    contrast: Share = 0.1
    """Augmentation: up to this share more or less, and brightness by as much of 255."""
    flip: bool = False
    """Augmentation: mirrors half of the images. Off, since a chest isn't symmetric and a mirrored
    heart is a disease."""
    test_time_views: Count = 0
    """Augmented copies that a served model averages with the plain image."""

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        backbone = BACKBONES[self.backbone]
        if not self.image_size:
            object.__setattr__(self, "image_size", backbone.image_size)  # self is frozen
        scaled = self.backbone_lr_scale != 1 or self.layer_decay != 1
        head_only = self.finetune_from == "head"
        probe = self.head == "probe"
        for wrong, message in (
            (
                self.image_size < backbone.min_size,
                f"image_size {self.image_size} is too small for {self.backbone}, which needs "
                f"{backbone.min_size}",
            ),
            (
                self.alpha != 1 and not backbone.alphas,
                f"alpha {self.alpha}: {self.backbone} has no width multiplier, leave it at 1",
            ),
            (
                self.color == "gray" and self.weights != "none",
                "color gray has one channel, ImageNet's weights have three: set weights to none",
            ),
            (
                self.optimizer == "adamw" and not self.weight_decay,
                "optimizer adamw is adam with weight_decay: set weight_decay above 0",
            ),
            (
                0 < self.images_seen < self.batch_size * self.accumulation_steps,
                f"images_seen {self.images_seen} is less than one update of batch_size "
                f"{self.batch_size} × accumulation_steps {self.accumulation_steps}",
            ),
            (
                self.cached_views and not self.finetune_from,
                "cached_views stores what a frozen part puts out: set finetune_from",
            ),
            (
                head_only and scaled,
                "backbone_lr_scale and layer_decay change nothing with finetune_from head",
            ),
            (
                head_only and self.head_epochs,
                "head_epochs change nothing with finetune_from head: set epochs",
            ),
            (
                probe and self.finetune_from not in ("", "head"),
                f"finetune_from {self.finetune_from}: a probe leaves the backbone as it is, take "
                "another head or leave it out",
            ),
            (
                probe and self.normal_weight != 1,
                "normal_weight: a probe gives every image its weight, leave it at 1",
            ),
            (
                probe and self.loss != "bce",
                f"loss {self.loss}: a probe is logistic regression, leave it at bce",
            ),
            (
                probe and (self.cached_views or self.test_time_views),
                "cached_views and test_time_views: a probe sees each image as it is, leave them "
                "at 0",
            ),
            (
                not probe and self.second_level,
                f"second_level is for head probe, not {self.head}",
            ),
            (
                not probe and self.cell_layers,
                f"cell_layers are for head probe, not {self.head}",
            ),
        ):
            if wrong:
                raise ValueError(message)
        return self

    @property
    def unused(self) -> list[str]:
        """Names of settings that were changed and change nothing, as the head is a probe."""
        if self.head != "probe":
            return []
        plain, names = TrainConfig(), [f.name for f in fields(self) if f.name not in _OF_PROBE]
        return [name for name in names if getattr(self, name) != getattr(plain, name)]
