import pytest

from cxrflow.components.publish.report import REPORT, CheckReport
from cxrflow.schema.errors import CxrflowError

GOOD = CheckReport([], 16, 0.0, 9.5, 24.6, 57.4, 949.2)


def test_the_report_is_read_as_written(tmp_path):
    for report in (GOOD, CheckReport(reasons=["too slow", "too large"], images=3)):
        report.write(tmp_path)
        assert CheckReport.read(tmp_path) == report
        assert [p.name for p in tmp_path.iterdir()] == [REPORT]


def test_the_line_for_the_terminal():
    assert GOOD.blessed
    assert GOOD.line == (
        "passed: 16 images answered as in training, 25 ms each (95 % within 57 ms), 949 MB"
    )
    bad = CheckReport(reasons=["too slow", "too large"])
    assert not bad.blessed
    assert bad.line == "too slow; too large"


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"blessed": true, "more": 1}'])
def test_refuses_what_is_no_report(tmp_path, content):
    if content is not None:
        (tmp_path / REPORT).write_text(content)
    with pytest.raises(CxrflowError, match="run the pipeline again"):
        CheckReport.read(tmp_path)
