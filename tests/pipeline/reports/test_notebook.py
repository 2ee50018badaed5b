"""docs/evaluation.ipynb, run cell by cell on a made run."""

import json
from pathlib import Path

import pytest

from cxrflow.pipeline.record import Run

pytestmark = pytest.mark.tf

NOTEBOOK = Path(__file__).parents[3] / "docs" / "evaluation.ipynb"


def test_the_notebook_shows_tfmas_widgets(made_run, monkeypatch):
    import tensorflow_model_analysis as tfma

    run = Run(
        config=dict(made_run.config),
        data_dir=str(made_run.data_dir),
        synthetic=True,
        seconds=1,
        executed=[],
        cached=[],
        artifacts={node: dict(outputs) for node, outputs in made_run.artifacts.items()},
        pushed="",
        log="logs/1.log",
    )
    run.write(made_run.root)
    monkeypatch.setenv("CXRFLOW_RUN", str(made_run.root))
    # Without Jupyter's front end a widget has nobody to show it; what it is given is what counts.
    shown = {}
    for name in ("render_slicing_metrics", "render_plot", "render_time_series"):
        monkeypatch.setattr(tfma.view, name, _noting(shown, name, getattr(tfma.view, name)))
    names: dict = {}
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        assert not cell.get("outputs")
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["verdict"].name == "ensemble"
    assert set(shown) == {"render_slicing_metrics", "render_plot", "render_time_series"}
    assert all(widget is not None for widget in shown.values())


def _noting(shown, name, render):
    def noted(*args, **kwargs):
        shown[name] = render(*args, **kwargs)

    return noted
