"""What nodes put out besides TFX's own kinds of artifacts.

Kubeflow takes names of the form `module.Class` with one dot and imports the class by that name:
`cxrflow` hands these on.
"""

from tfx.types import artifact, system_artifacts


class RecipeReport(artifact.Artifact):
    """A folder with `networks.json`: numbers of parameters of each member's network."""

    TYPE_NAME = "cxrflow.RecipeReport"


class Quarantine(artifact.Artifact):
    """What ingest set aside: `quarantine.csv` (image, row, reason, detail) and `summary.json`.

    Custom properties: `rows` (looked at), `set_aside`, and the count of each reason that occurred.
    """

    TYPE_NAME = "cxrflow.Quarantine"
    TYPE_ANNOTATION = system_artifacts.Dataset


class ValidationReport(artifact.Artifact):
    """A folder with `report.json`: images per split, and the distances between splits."""

    TYPE_NAME = "cxrflow.ValidationReport"


class Verdict(artifact.Artifact):
    """A folder with `verdict.json`."""

    TYPE_NAME = "cxrflow.Verdict"


class LocalisationReport(artifact.Artifact):
    """A folder with `localisation.json`."""

    TYPE_NAME = "cxrflow.LocalisationReport"


class ModelCard(artifact.Artifact):
    """A folder with `model_card.md`, `model_card.html`, `metadata.json` and `sbom.cdx.json`."""

    TYPE_NAME = "cxrflow.ModelCard"


class EnsembleReport(artifact.Artifact):
    """A folder with `ensemble.json`: AUC of every member and method, per class and split."""

    TYPE_NAME = "cxrflow.EnsembleReport"


class ServingReport(artifact.Artifact):
    """A folder with `serving_check.json`."""

    TYPE_NAME = "cxrflow.ServingReport"


class EdgeCandidate(artifact.Artifact):
    """A folder with every variant of a model, not yet judged, and custom property `exported`, 1.

    With 0 the folder is empty: the model wasn't blessed.
    """

    TYPE_NAME = "cxrflow.EdgeCandidate"


class EdgeBundle(artifact.Artifact):
    """A folder that may be pushed, with the custom property `blessed`, 1; or an empty one, 0."""

    TYPE_NAME = "cxrflow.EdgeBundle"


class EdgeReport(artifact.Artifact):
    """A folder with `parity_report.json`."""

    TYPE_NAME = "cxrflow.EdgeReport"


class EdgePush(artifact.Artifact):
    """What became of a bundle: `pushed`, 1 or 0, and the folder, `edge_destination`."""

    TYPE_NAME = "cxrflow.EdgePush"


class Scores(artifact.Artifact):
    """What models say about each image of eval and test: a folder a model, see `score.files`."""

    TYPE_NAME = "cxrflow.Scores"
