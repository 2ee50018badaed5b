"""The files of a model card."""

import json
from pathlib import Path

from cxrflow.components.card.evidence import Evidence
from cxrflow.components.card.metadata import metadata
from cxrflow.components.card.render import to_html, to_markdown
from cxrflow.components.card.sbom import bill_of_materials
from cxrflow.schema.files import write_whole
from cxrflow.schema.metadata_json import METADATA

CARD, PAGE, SBOM = "model_card.md", "model_card.html", "sbom.cdx.json"


def write_card(evidence: Evidence, folder: Path) -> list[Path]:
    """Writes card, page, metadata and bill of materials, each whole or not at all.

    Args:
        evidence: what is known of the model.
        folder: made if missing.

    Returns:
        The paths of what was written.
    """
    card = to_markdown(evidence)
    texts = {
        CARD: card,
        PAGE: to_html(card),
        METADATA.name: json.dumps(metadata(evidence), indent=1, allow_nan=False) + "\n",
        SBOM: bill_of_materials(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_whole(folder / name, text)
    return [folder / name for name in texts]
