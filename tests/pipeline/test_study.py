"""A study is run as a pipeline is: inside its root, with paths that stay right when it moves."""

import sys
import types
from pathlib import Path

import pytest

from cxrflow.components.ingest.phantom import write_phantoms
from cxrflow.pipeline import config, facts, study
from cxrflow.pipeline.study import create_study, find_experiments, one_recipe, run_study


@pytest.mark.slow
def test_a_study_is_wired_inside_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(BaseException):
        """Ends the run once it is wired."""

    def wired(
        settings: config.PipelineConfig,
        folder: Path,
        root: Path,
        known: facts.Facts,
        experiments: list,
    ) -> None:
        seen.update(folder=folder, root=root, experiments=experiments, cwd=Path.cwd())
        raise Stop

    seen: dict[str, object] = {}
    root = tmp_path / "root"
    root.mkdir()
    write_phantoms(root / "phantoms-4-0-6", 4, 0, 6.0, workers=1)
    settings = config.parse({"phantom": {"patients": 4, "prevalence_scale": 6.0}})
    monkeypatch.setattr(study, "create_study", wired)
    monkeypatch.setitem(sys.modules, "cxrflow.pipeline.engines", types.SimpleNamespace())
    before = Path.cwd()
    with pytest.raises(Stop):
        run_study(settings, None, root, find_experiments("head"))
    assert Path.cwd() == before
    assert seen == {
        "folder": Path("phantoms-4-0-6"),
        "root": Path(),
        "experiments": ["head"],
        "cwd": root,
    }


@pytest.mark.tf
def test_its_paths_are_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_phantoms(tmp_path / "xrays", 4, 0, 6.0, workers=1)
    settings = config.load("study")
    known = facts.gather(one_recipe(settings), Path("xrays"), Path())
    pipeline = create_study(settings, Path("xrays"), Path(), known, find_experiments("head"))
    assert str(tmp_path) not in repr([node.exec_properties for node in pipeline.components])
    assert pipeline.pipeline_info.pipeline_root == "artifacts"
