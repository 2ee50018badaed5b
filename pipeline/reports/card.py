"""The model card of a finished run, as its ModelCard node would write it."""

from pathlib import Path

from cxrflow.components.card.evidence import Folders, gather
from cxrflow.components.card.settings import CardConfig, CardSettings
from cxrflow.components.card.write import write_card
from cxrflow.pipeline.record import Run
from cxrflow.pipeline.reports.explain import find_model
from cxrflow.schema.errors import CxrflowError


def card_of_run(run: Run, to: Path) -> list[Path]:
    """Writes the files of `components/card/write.py` on the model that the run judged.

    Raises:
        CxrflowError: what a node wrote is gone or damaged, or the run has no gate.
    """
    if missing := {"Gate", "ImageExampleGen"} - run.artifacts.keys():
        raise CxrflowError(f"the run has no {min(missing)}: a card needs a run that judges a model")

    def folder(node: str, output: str) -> Path | None:
        found = run.artifacts.get(node, {}).get(output)
        return Path(found) if found else None

    folders = Folders(
        model=find_model(Path(run.candidate)),
        verdict=Path(run.artifacts["Gate"]["verdict"]),
        records=Path(run.artifacts["ImageExampleGen"]["records"]),
        quarantine=folder("ImageExampleGen", "quarantine"),
        networks=folder("RecipeCheck", "report"),
        trainings={
            node.partition(".")[2]: Path(run.artifacts[node]["model_run"]) for node in run.trainers
        },
        ensemble=folder("Ensemble", "report"),
        localisation=folder("Localiser", "report"),
        baselines=folder("Baselines", "scores"),
    )
    settings = CardSettings(
        card=CardConfig(**run.config.get("card", {})),  # runs of older versions have none
        cohort=run.config["ingest"]["cohort"],
        synthetic=run.synthetic,
    )
    evidence = gather(folders, settings)
    written = write_card(evidence, to)
    examples = folder("ImageExampleGen", "examples")
    scores = folder("Ensemble", "scores") or folder("Scorer", "scores")
    if examples and scores:
        from cxrflow.components.card.reference import write_reference

        images, name = settings.card.reference_images, evidence.info.name
        written.append(write_reference(folders.records, examples, scores, name, images, to))
    return written
