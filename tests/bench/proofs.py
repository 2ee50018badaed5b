"""`make proofs`, a network at a time: how well it learns, and what its tests take.

What the GPU profiles' networks can be asked on a CPU, on a few real X-rays: to learn 32 by heart in
a small size, and at 512 pixels to train, go on after a kill, be served and be converted.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from tests.bench.figure import ROOT, SHARED, figure, measure, skipped

PROFILES = ("nih", "nih_baseline")
WHOLE = "nih"  # of which all is tried at 512 pixels too
TESTS = "tests/components/train/test_train_proofs.py"
BY_HEART = "test_a_recipe_learns_32_xrays_by_heart"
AT_512 = "test_at_512_pixels_it_trains_goes_on_and_is_served_and_converted"
LEARNED = 0.99  # AUC of each class


def recipes() -> dict[str, Any]:
    """The profiles' recipes, as PROFILE-MEMBER."""
    from cxrflow.pipeline import config

    return {
        f"{profile}-{name}": recipe
        for profile in PROFILES
        for name, recipe in config.load(profile).members.items()
    }


def main() -> Iterator[dict[str, Any]]:
    """Yields a figure for each recipe."""
    for name in recipes():
        what = f"{name}: lowest AUC of 32 real X-rays learned by heart"
        if not SHARED.is_dir():
            yield skipped(what, f"no real X-rays in {SHARED}")
            continue
        measured = measure("-m", "tests.bench.proofs", name)
        found = json.loads(measured.output.splitlines()[-1])
        auc = found[BY_HEART].get("auc", 0.0)
        passed = {test: one["outcome"] == "passed" for test, one in found.items()}
        seconds = {test: round(one["seconds"]) for test, one in found.items()}
        at_512 = f"{'passed' if passed[AT_512] else 'failed'}; " if AT_512 in passed else ""
        minutes, gigabytes = measured.cpu_seconds / 60, measured.peak_gb
        yield figure(
            what,
            auc,
            f">= {LEARNED}",
            all(passed.values()),
            shown=f"{auc:.3f}; {at_512}{minutes:.1f} CPU minutes, {gigabytes:.1f} GB",
            seconds=seconds,
            cpu_seconds=round(measured.cpu_seconds),
            peak_gb=round(gigabytes, 3),
        )


def prove(name: str) -> dict[str, dict[str, Any]]:
    """Runs a recipe's tests in this process: outcome, seconds and what was recorded, by test."""
    import pytest

    found: dict[str, dict[str, Any]] = {}

    class Outcomes:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when == "call" or report.failed:
                test = report.nodeid.rpartition("::")[2].partition("[")[0]
                noted = {"outcome": report.outcome, "seconds": report.duration}
                found[test] = noted | dict(report.user_properties)

    tests = [BY_HEART, *([AT_512] if name.startswith(f"{WHOLE}-") else [])]
    asked = [f"{TESTS}::{test}[{name}]" for test in tests]
    pytest.main(["-q", "-m", "proofs", "-p", "no:cacheprovider", *asked], plugins=[Outcomes()])
    return found


if __name__ == "__main__":
    os.environ["TF_USE_LEGACY_KERAS"] = "0"
    os.chdir(ROOT)
    print(json.dumps(prove(sys.argv[1])))
