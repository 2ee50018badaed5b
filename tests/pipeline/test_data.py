"""What is cheap to find out about the data folder is said before TensorFlow is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from cxrflow.components.ingest.table import COLUMNS
from cxrflow.pipeline import config, data
from cxrflow.schema.errors import CxrflowError


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "has no table"),
        ("a,b\n1,2\n", "lacks the columns"),
        (
            ",".join(COLUMNS) + "\na.png,Mass,0,1,50,M,PA\n",
            "1 of 1 images are bad .* 1 missing.*row 2",
        ),
    ],
)
def test_a_folder_that_ingest_would_refuse(tmp_path: Path, table: str | None, message: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.png").touch()
    if table is not None:
        (tmp_path / "Data_Entry_2017.csv").write_text(table)
    with pytest.raises(CxrflowError, match=message):
        data.require(config.parse({}), tmp_path)


def test_the_command_says_so_without_tensorflow(tmp_path: Path) -> None:
    root = str(tmp_path / "r")
    code = (
        "import sys; from cxrflow.pipeline.cli import main\n"
        f"sys.argv = ['cxrflow', 'run', '--data', {str(tmp_path)!r}, '--root', {root!r}]\n"
        "try: main()\n"
        "finally: print('tensorflow' in sys.modules, 'tfx' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and "has no table" in done.stderr
    assert done.stdout.split() == ["False", "False"]
    assert not (tmp_path / "r").exists(), "nothing was made"
