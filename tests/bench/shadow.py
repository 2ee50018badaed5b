"""What `serve --shadow` costs the first answer: two servers in turns, with and without it.

MobileNet at 224 pixels, PNGs of 400 KB, half of what the server can answer; both take short turns,
so that other load on the machine hits both.
"""

import statistics
import urllib.request
from collections.abc import Iterator
from typing import Any

import yaml

from cxrflow.schema.store.versions import Labels, write_labels
from tests.bench.figure import figure
from tests.bench.serving import MODEL, Bench, Done, Served, load, quantile
from tests.support.ports import free_port

TURNS, SECONDS = 6, 10.0
_LABEL = "canary"


def main() -> Iterator[dict[str, Any]]:
    """Yields how the first answer's latency changes."""
    with Bench() as bench:
        bench.push()
        write_labels(bench.root / "serving" / MODEL, Labels({"stable": 1, _LABEL: 2}))
        rest = free_port()
        shadow = {"label": _LABEL, "log": str(bench.root / "shadow.jsonl")}
        both = yaml.safe_dump({"shadow": shadow})
        with bench.server() as alone, bench.server(both, rest) as shadowed:
            yield _compared(bench, alone, shadowed, rest)


def _compared(bench: Bench, alone: Served, shadowed: Served, rest: int) -> dict[str, Any]:
    for served in (alone, shadowed):  # warm, and the second version loaded
        load(served, bench, clients=4, seconds=SECONDS)
    while not _shadows(rest)["asked"]:  # its queue is full of what waits for its loading
        load(shadowed, bench, clients=1, seconds=1.0)
    capacity = len(load(alone, bench, clients=4, seconds=SECONDS)[0].ms) / SECONDS
    ms: dict[str, list[float]] = {"without": [], "with": []}
    errors: list[str] = []
    for _ in range(TURNS):
        for name, served in (("without", alone), ("with", shadowed)):
            done: Done = load(served, bench, clients=8, seconds=SECONDS, rate=capacity / 2)[0]
            ms[name] += done.ms
            errors += done.errors
    p50, p99 = (
        quantile(ms["with"], share) / quantile(ms["without"], share) for share in (0.5, 0.99)
    )
    return figure(
        "p50 of the first answer at half load, with a shadow / without",
        p50,
        "<= 1.1, and p99 <= 1.5",
        p50 <= 1.1 and p99 <= 1.5 and not errors,
        p99=round(p99, 3),
        requests={name: len(found) for name, found in ms.items()},
        median_ms={name: round(statistics.median(found), 1) for name, found in ms.items()},
        p99_ms={name: round(quantile(found, 0.99), 1) for name, found in ms.items()},
        requests_per_second=round(capacity / 2, 1),
        **_shadows(rest),
    )


def _shadows(rest: int) -> dict[str, float]:
    """How many requests the second version was asked, and how many were dropped."""
    url = f"http://127.0.0.1:{rest}/monitoring/prometheus/metrics"
    page = urllib.request.urlopen(url, timeout=30).read().decode().splitlines()
    start = "cxrflow_serving_shadow_"
    values = {
        name: sum(float(line.rsplit(" ", 1)[1]) for line in page if line.startswith(start + name))
        for name in ("requests_total", "dropped_total")
    }
    return {"asked": values["requests_total"], "dropped": values["dropped_total"]}
