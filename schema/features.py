"""Names of the features of raw and transformed tf.Examples; see docs/architecture.md, Contracts."""

# Raw examples, ImageExampleGen's output.
IMAGE = "image/encoded"  # bytes of the PNG or JPEG as read
IMAGE_ID = "image/id"  # file name
PATIENT_ID = "patient/id"
AGE = "patient/age"  # years
SEX = "patient/sex"  # M or F
VIEW = "view"  # PA or AP
FOLLOW_UP = "follow_up"  # number of the examination, from 0
FINDINGS = "findings"  # names of classes; empty for No Finding
UNKNOWN_FINDINGS = "findings/unknown"  # classes of which a described source knows nothing
HEIGHT = "image/height"  # pixels
WIDTH = "image/width"

SLICE_PREFIX = "slice/"  # of further groups that a described source has
UNKNOWN = "unknown"  # sex, view or another group of a described source
UNKNOWN_AGE = -1

# Transformed examples, besides IMAGE_ID, PATIENT_ID, AGE, SEX and VIEW.
T_IMAGE = "image"  # compact bytes
T_LABELS = "labels"  # float32 [C], k-hot; NaN where nothing is known, see schema/labels.py
AGE_BAND = "age_band"  # one of preprocessing.AGE_BANDS, or unknown
SPLIT = "split"  # one of SPLITS; with it one evaluation can tell the splits apart

SPLITS = ("train", "eval", "test")
