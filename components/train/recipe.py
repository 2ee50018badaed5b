"""A training recipe: every choice of one model's training, as data."""

from typing import Literal

from schema.settings import Count, Pixels, Positive, Rate, Share, settings


@settings
class TrainConfig:
    """The recipe of one model."""

    backbone: Literal["MobileNet"] = "MobileNet"
    alpha: Rate = 1.0  # MobileNet's width multiplier
    head: Literal["attention", "simple"] = "attention"
    image_size: Pixels = 224  # what the network sees, pixels
    weights: Literal["imagenet", "none"] = "imagenet"
    weights_dir: str = ""  # folder or h5 file with ImageNet weights; empty: Keras's own download
    seed: int = 0
    epochs: Positive = 20
    patience: Positive = 5  # epochs without a better mean eval AUC
    batch_size: Positive = 32
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Rate = 5e-4
    warmup: Share = 0.0  # share of all steps in which the learning rate rises to its full height
    schedule: Literal["constant", "cosine"] = "constant"  # cosine: falls to zero at the last step
    weight_decay: Share = 0.0  # decoupled, of kernels only; adam with it is AdamW
    ema: Share = 0.0  # momentum of the averaged weights that are evaluated and kept; 0: none
    dropout: Share = 0.5  # in the head
    normal_weight: Rate = 1.0  # of an image without a finding in the loss; others weigh 1
    label_smoothing: Share = 0.0
    feature_layers: tuple[str, ...] = ()  # earlier maps that the head sees besides the last one
    finetune_from: str = ""  # first trained layer of the backbone; empty: all; "head": none
    head_epochs: Count = 0  # before all others, for the head alone
    head_learning_rate: Rate = 1e-3
    batch_norm: Literal["train", "frozen"] = "train"  # frozen: the backbone's keep their weights
    bn_momentum: Share = 0.99  # of trained batch norms; .9 suits runs of few steps
    cached_views: Count = 0  # augmented copies of the frozen part's output; 0: computed anew
    rotation: float = 5.0  # augmentation: up to so many degrees
    shift: Share = 0.05  # up to this share of the side
    zoom: Share = 0.1  # up to this share in and out
    contrast: Share = 0.1  # up to this share more or less, and brightness by as much of 255
