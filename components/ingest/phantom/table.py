"""Who is examined when, and with which findings: the label table of a phantom set.

Constants come from NIH's `Data_Entry_2017_v2020.csv` (112,120 images of 30,805 patients). A class,
or the view AP, is present where a latent Gaussian exceeds the quantile of its prevalence. For class
c in image t of a patient

    z[c, t] = burden[c] * s + sqrt(chronic[c]) * u[c] + sqrt(rest[c]) * w[c, t]
    rest = 1 - burden**2 - chronic

with s the normal score of the patient's number of images, u drawn once a patient, and w a
first-order autoregression over follow-ups with coefficient memory[c]; u and the innovations of w
have the correlations LATENT. How each was found:

- PREVALENCE: `df["Finding Labels"].str.split("|").explode().value_counts() / 112120`; AP likewise.
- burden: biserial correlation of label y, of prevalence p, with s over images,
  `(s[y].mean() - s[~y].mean()) * p * (1 - p) / norm.pdf(norm.ppf(p))`.
- chronic + burden**2: mean tetrachoric correlation of a class with itself 10 and 20 images later in
  the same patient; memory: what the correlation one image later needs beyond that.
- LATENT: the tetrachoric correlation T of two classes within an image, solved for R in
  `T = bi bj + R (sqrt(ci cj) + sqrt(ri rj (1 - mi²) (1 - mj²)) / (1 - mi mj))` with b, c, r, m for
  burden, chronic, rest, memory. The result is positive definite as it stands.
- images a patient, age at the first image, pixel sizes: empirical distribution functions.
"""

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from cxrflow.schema.classes import CLASSES_14

PREVALENCE = {
    "Atelectasis": 0.10309,
    "Cardiomegaly": 0.02476,
    "Consolidation": 0.04163,
    "Edema": 0.02054,
    "Effusion": 0.11877,
    "Emphysema": 0.02244,
    "Fibrosis": 0.01504,
    "Hernia": 0.00202,
    "Infiltration": 0.17743,
    "Mass": 0.05157,
    "Nodule": 0.05647,
    "Pleural_Thickening": 0.03019,
    "Pneumonia": 0.01276,
    "Pneumothorax": 0.04729,
}
# Scaling stops here, or frequent classes would drown the rare ones it is meant to raise.
MAX_PREVALENCE = 0.2
AP_SHARE = 0.39966
MALE_SHARE = 0.53985
TEST_SHARE = 0.22829  # of images, in NIH's test_list.txt

# In the order of CLASSES_14, then the view AP.
# fmt: off
_BURDEN = (
    0.14, 0.05, 0.29, 0.28, 0.29, 0.2, -0.07, -0.11, 0.23, 0.08, 0.03, 0.08, 0.18, 0.32, 0.54,
)
_CHRONIC = (
    0.17, 0.5, 0.06, 0.12, 0.2, 0.42, 0.26, 0.73, 0.1, 0.45, 0.3, 0.21, 0.05, 0.4, 0.2,
)
_MEMORY = (
    0.42, 0.36, 0.47, 0.56, 0.5, 0.61, 0.44, 0.65, 0.29, 0.48, 0.43, 0.43, 0.4, 0.66, 0.45,
)
# fmt: on
_LATENT = (
    (),
    (0.06,),
    (0.28, 0.08),
    (-0.06, 0.17, 0.03),
    (0.35, 0.41, 0.22, 0.16),
    (0.11, -0.07, -0.07, -0.16, -0.01),
    (0.07, 0.04, 0.05, -0.18, 0.01, 0.01),
    (0.16, 0.04, -0.12, -0.03, -0.02, -0.01, 0.13),
    (0.18, 0.05, 0.08, 0.28, 0.2, -0.05, 0.06, -0.02),
    (0.06, -0.07, 0.27, -0.01, 0.19, 0.1, 0.07, 0.15, 0.03),
    (-0.03, -0.08, 0.13, -0.01, 0.05, -0.05, 0.12, -0.04, 0.12, 0.3),
    (0.09, 0.05, 0.12, -0.04, 0.22, 0.14, 0.27, 0.04, 0.06, 0.25, 0.19),
    (0.12, 0.02, 0.1, 0.55, 0.07, -0.11, -0.09, 0.04, 0.26, -0.03, -0.04, 0.0),
    (0.07, -0.21, -0.12, -0.34, 0.06, 0.48, 0.03, 0.01, -0.09, 0.1, 0.02, 0.13, -0.19),
    (0.09, 0.02, 0.21, 0.48, 0.0, -0.13, -0.28, -0.24, 0.13, -0.08, -0.11, -0.21, 0.08, -0.3),
)

# fmt: off
# Number of images a patient has, and the share of patients with at most as many.
_VISITS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 60, 80, 100, 184)
_VISITS_CDF = (
    0, 0.5682, 0.7017, 0.7699, 0.813, 0.8435, 0.869, 0.9048, 0.9278, 0.9499, 0.9636, 0.9739, 0.9821,
    0.9871, 0.9924, 0.9951, 0.997, 0.9989, 0.9994, 1,
)
# fmt: on
# Age at the first image, years, and its distribution function.
_AGES = (0, 6, 17, 23, 33, 47, 58, 66, 71, 79, 95)
_AGES_CDF = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1)
# Years between one image and the next.
_AGE_STEPS = (0, 1, 2, 3)
_AGE_STEP_SHARES = (0.83, 0.12, 0.03, 0.02)

# Width and height in pixels and pixel spacing in mm of the original detectors; shares by view.
_DETECTORS = (
    (2500, 2048, 0.168),
    (3056, 2544, 0.139),
    (2992, 2991, 0.143),
    (2048, 2500, 0.168),
    (2021, 2021, 0.194311),
)
_DETECTOR_SHARES = {"AP": (0.63, 0.32, 0.0, 0.05, 0.0), "PA": (0.18, 0.0, 0.53, 0.19, 0.1)}


@dataclass(frozen=True)
class Study:
    """One radiograph's row. Age in years; sex M or F; view PA or AP; width, height (px), mm/px."""

    patient: int
    follow_up: int
    age: int
    sex: str
    view: str
    findings: tuple[str, ...]
    detector: tuple[int, int, float]

    @property
    def image(self) -> str:
        """File name, in NIH's form."""
        return f"{self.patient:08d}_{self.follow_up:03d}.png"


@cache
def _model() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Burden, chronic and memory `[15]`, and the Cholesky factor `[15, 15]` of LATENT."""
    size = len(_LATENT)
    latent = np.eye(size)
    for i, row in enumerate(_LATENT):
        latent[i, :i] = latent[:i, i] = row
    return np.array(_BURDEN), np.array(_CHRONIC), np.array(_MEMORY), np.linalg.cholesky(latent)


@cache
def _visit_scores() -> np.ndarray:
    """Normal score of a patient's number of images, 1..184, over images rather than patients."""
    visits = np.arange(1, _VISITS[-1] + 1)
    weight = np.diff(np.interp(np.arange(_VISITS[-1] + 1), _VISITS, _VISITS_CDF)) * visits
    weight /= weight.sum()
    middle = np.cumsum(weight) - weight / 2
    scores = np.array([NormalDist().inv_cdf(q) for q in middle])
    return scores / np.sqrt(weight @ scores**2)


def scaled_prevalence(scale: float) -> dict[str, float]:
    """Share of images with each class: the real one times `scale`, at most MAX_PREVALENCE."""
    return {c: min(p * scale, max(p, MAX_PREVALENCE)) for c, p in PREVALENCE.items()}


@cache
def _thresholds(scale: float) -> np.ndarray:
    shares = [*scaled_prevalence(scale).values(), AP_SHARE]
    return np.array([-NormalDist().inv_cdf(p) for p in shares])


def draw_patient(seed: int, patient: int, prevalence_scale: float = 1.0) -> list[Study]:
    """The studies of one patient in order; the same whatever else is drawn."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(patient, 0)))
    visits = int(np.ceil(np.interp(rng.random(), _VISITS_CDF, _VISITS))) or 1
    sex = "M" if rng.random() < MALE_SHARE else "F"
    age = int(np.interp(rng.random(), _AGES_CDF, _AGES))

    burden, chronic, memory, root = _model()
    lasting = burden * _visit_scores()[visits - 1] + np.sqrt(chronic) * (
        root @ rng.standard_normal(root.shape[0])
    )
    passing = root @ rng.standard_normal(root.shape[0])
    studies = []
    for follow_up in range(visits):
        if follow_up:
            passing = memory * passing + np.sqrt(1 - memory**2) * (
                root @ rng.standard_normal(root.shape[0])
            )
            age = min(age + int(rng.choice(_AGE_STEPS, p=_AGE_STEP_SHARES)), _AGES[-1])
        present = lasting + np.sqrt(1 - burden**2 - chronic) * passing > _thresholds(
            prevalence_scale
        )
        view = "AP" if present[-1] else "PA"
        detector = _DETECTORS[int(rng.choice(len(_DETECTORS), p=_DETECTOR_SHARES[view]))]
        findings = tuple(c for c, p in zip(CLASSES_14, present[:-1], strict=True) if p)
        studies.append(Study(patient, follow_up, age, sex, view, findings, detector))
    return studies


def in_test_list(visits: list[int]) -> list[bool]:
    """Which patients form the test list, given their numbers of images: TEST_SHARE of all images.

    A patient goes to the list that is behind, whatever his own number, and only patients before him
    matter: nobody changes sides when more patients are drawn.
    """
    total = test = 0
    chosen = []
    for n in visits:
        chosen.append(test < TEST_SHARE * total)
        total += n
        test += n if chosen[-1] else 0
    return chosen
