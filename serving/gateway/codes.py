"""Coded concepts of results: published ones where there is one, else our own scheme's."""

import hashlib

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept

OWN_SCHEME = "99CXRFLOW"  # PS3.16 section 8.2: private schemes begin with 99
_MEANING = 64  # characters, PS3.5, LO

# The classes of NIH's that SNOMED CT or PS3.16 annex D (CID 6102, 6104) have a concept for.
_CLASSES = {
    "Atelectasis": ("46621007", "SCT", "Atelectasis"),
    "Cardiomegaly": ("8186001", "SCT", "Cardiomegaly"),
    "Consolidation": ("95436008", "SCT", "Lung consolidation"),
    "Edema": ("19242006", "SCT", "Pulmonary edema"),
    "Effusion": ("60046008", "SCT", "Pleural effusion"),
    "Emphysema": ("87433001", "SCT", "Pulmonary emphysema"),
    "Fibrosis": ("51615001", "SCT", "Fibrosis of lung"),
    "Infiltration": ("112121", "DCM", "Infiltrate"),
    "Mass": ("4147007", "SCT", "Mass"),
    "Nodule": ("27925004", "SCT", "Nodule"),
    "Pneumonia": ("233604007", "SCT", "Pneumonia"),
    "Pneumothorax": ("36118008", "SCT", "Pneumothorax"),
}

PROBABILITY = CodedConcept("111012", "DCM", "Certainty of Finding")
THRESHOLD = CodedConcept("122411", "DCM", "Threshold Value")
PERCENT = CodedConcept("%", "UCUM", "Percent")
YES = CodedConcept("373066001", "SCT", "Yes")
NO = CodedConcept("373067005", "SCT", "No")
COMMENT = CodedConcept("121106", "DCM", "Comment")
CHEST_XRAY = CodedConcept("399208008", "SCT", "Plain chest X-ray")
QUALITATIVE = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
REACHED = CodedConcept("REACHED", OWN_SCHEME, "Reaches the operating threshold")
ANSWER = CodedConcept("ANSWER", OWN_SCHEME, "Answer of the model")
ANSWERS = {
    "not_frontal_chest": CodedConcept("NOTFRONTALCHEST", OWN_SCHEME, "Not a frontal chest X-ray"),
    "out_of_distribution": CodedConcept(
        "UNLIKE", OWN_SCHEME, "Not like the chest X-rays that the model knows"
    ),
    None: CodedConcept("NOANSWER", OWN_SCHEME, "No answer"),
}
SCHEMES = [
    CodingSchemeIdentificationItem(OWN_SCHEME, name="Classes and answers of cxrflow's models")
]


def finding(name: str) -> CodedConcept:
    """The concept of a class: a published one, or our own of this name."""
    if name in _CLASSES:
        return CodedConcept(*_CLASSES[name])
    number = hashlib.sha256(name.encode()).hexdigest()[:12].upper()
    meaning = "".join(letter for letter in name if letter.isprintable() and letter != "\\")
    return CodedConcept(f"C{number}", OWN_SCHEME, meaning[:_MEANING] or "class")
