"""The label vocabulary of NIH ChestX-ray14 (Wang et al., CVPR 2017)."""

CLASSES_14: tuple[str, ...] = (
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
)

# The 13 with more than 1,000 cases among the 112,120 images; Hernia has 227.
DEFAULT_CLASSES: tuple[str, ...] = tuple(c for c in CLASSES_14 if c != "Hernia")

NO_FINDING = "No Finding"
