"""A training recipe: every choice of one model's training, as data."""

from typing import Literal

from pydantic import Field, model_validator

from components.train.backbones import BACKBONES
from schema.settings import Count, Positive, Rate, Share, settings


@settings
class TrainConfig:
    """The recipe of one model."""

    backbone: Literal[tuple(BACKBONES)] = "MobileNet"
    alpha: Rate = 1.0  # width multiplier of MobileNet and MobileNetV2
    head: Literal["attention", "simple", "class_attention", "lse"] = "attention"
    image_size: int = Field(0, ge=0, le=4096)  # pixels; 0: replaced by the backbone's own
    color: Literal["rgb", "gray"] = "rgb"  # gray: the backbone sees one channel, their mean
    weights: Literal["imagenet", "none"] = "imagenet"
    weights_dir: str = ""  # folder or h5 file with ImageNet weights; empty: Keras's own download
    seed: int = 0
    deterministic: bool = False  # the same seed gives the same bits; slower
    # Of training; auto: mixed where there is a GPU. What is exported is float32.
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    epochs: Positive = 20
    images_seen: Count = 0  # end after so many training images, whatever batch size; 0: epochs do
    epoch_images: Count = 0  # an epoch ends, and eval is scored, after so many; 0: after all
    patience: Positive = 5  # epochs without a better mean eval AUC
    batch_size: Positive = 32
    # Batches whose mean gradient makes one update; warm-up, schedule and epochs count batches.
    accumulation_steps: Positive = 1
    optimizer: Literal["adam", "adamw", "sgd", "adagrad", "adadelta"] = "adam"
    momentum: Share = 0.9  # of sgd; the others have none
    learning_rate: Rate = 5e-4
    backbone_lr_scale: Rate = 1.0  # the backbone's learning rate as a share of the head's
    layer_decay: float = Field(1.0, gt=0, le=1)  # each backbone layer's as a share of the next's
    warmup: Share = 0.0  # share of all steps in which the learning rate rises to its full height
    schedule: Literal["constant", "cosine"] = "constant"  # cosine: falls to zero at the last step
    weight_decay: Share = 0.0  # decoupled, of kernels only; adam with it is adamw
    ema: Share = 0.0  # momentum of the averaged weights that are evaluated and kept; 0: none
    dropout: Share = 0.5  # in the head
    lse_r: Rate = 10.0  # of the lse head: near 0 it pools the mean, high up the maximum
    loss: Literal["bce", "wcel", "focal"] = "bce"  # see losses.py
    focal_gamma: Rate = 2.0  # of focal: how much less well-classified labels count
    normal_weight: Rate = 1.0  # of an image without a finding in the loss; others weigh 1
    label_smoothing: Share = 0.0
    feature_layers: tuple[str, ...] = ()  # earlier maps that the head sees besides the last one
    # The backbone's layer that is trained with all it feeds; of one that joins branches, what it
    # feeds alone. "default": its last stage; "head": nothing; empty: everything.
    finetune_from: str = ""
    head_epochs: Count = 0  # before all others, for the head alone
    head_learning_rate: Rate = 1e-3
    batch_norm: Literal["train", "frozen"] = "train"  # frozen: the backbone's keep their weights
    bn_momentum: Share = 0.99  # of trained batch norms; .9 suits runs of few steps
    cached_views: Count = 0  # augmented copies of the frozen part's output; 0: computed anew
    rotation: float = 5.0  # augmentation: up to so many degrees
    shift: Share = 0.05  # up to this share of the side
    zoom: Share = 0.1  # up to this share in and out
    contrast: Share = 0.1  # up to this share more or less, and brightness by as much of 255
    # Mirrors half of the images. Off: a chest isn't symmetric, and a mirrored heart is a disease.
    flip: bool = False
    test_time_views: Count = 0  # augmented copies that a served model averages with the plain one

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        backbone = BACKBONES[self.backbone]
        if not self.image_size:
            object.__setattr__(self, "image_size", backbone.image_size)  # self is frozen
        scaled = self.backbone_lr_scale != 1 or self.layer_decay != 1
        head_only = self.finetune_from == "head"
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
        ):
            if wrong:
                raise ValueError(message)
        return self
