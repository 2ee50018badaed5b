"""The label vocabulary of NIH ChestX-ray14 (Wang et al., CVPR 2017)."""

from typing import Literal, get_args

ClassName = Literal[
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
]
CLASSES_14: tuple[ClassName, ...] = get_args(ClassName)

# The 13 with more than 1,000 cases among the 112,120 images; Hernia has 227.
DEFAULT_CLASSES: tuple[ClassName, ...] = tuple(c for c in CLASSES_14 if c != "Hernia")

NO_FINDING = "No Finding"
