"""What only people can say of a model, for its card."""

from cxrflow.schema.settings import Positive, settings


@settings
class CardConfig:
    """What the model card says that no figure tells."""

    intended_use: str = (
        "Research on multi-label classification of frontal chest X-rays, and trying out a pipeline."
    )
    """What the model is meant for."""
    not_for: str = (
        "Diagnosis, triage or any decision about a patient; other views, other body parts, "
        "children's X-rays where training had few; findings that aren't among its classes. It is "
        "not a medical device."
    )
    """What it must not be used for."""
    data_source: str = (
        "NIH ChestX-ray14 (Wang et al., CVPR 2017; images of the NIH Clinical Center), or a folder "
        "in its layout. NIH's labels were mined from radiology reports, not read off the images."
    )
    """Where images and labels come from; phantoms say so by themselves."""
    authors: str = "The cxrflow maintainers"
    """Who made the model."""
    reference_images: Positive = 500
    """Training images whose gray levels are measured at most, for `cxrflow monitor`."""
    copyright: str = "Apache-2.0; the data keep their owners' terms"
    """Under which terms it may be used."""


@settings
class CardSettings:
    """Settings of ModelCard."""

    card: CardConfig
    """What only people can say."""
    cohort: str
    """ingest.cohort: whose images are in the splits."""
    synthetic: bool = False
    """The X-rays are phantoms."""
