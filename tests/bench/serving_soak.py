"""Ten minutes at half load: the server's memory, and its errors."""

import argparse
import json
from collections.abc import Iterator
from typing import Any

import psutil

from tests.bench.figure import figure
from tests.bench.serving import Bench, load

SECONDS = 600.0
_WARM_SHARE = 0.2  # of the time: allocators settle, then memory must stay


def main(seconds: float = SECONDS) -> Iterator[dict[str, Any]]:
    """Yields the errors, and how far memory rose from the first fifth to the end."""
    with Bench() as bench, bench.server() as served:
        capacity = len(load(served, bench, clients=4, seconds=8)[0].ms) / 8
        server = psutil.Process(served.process.pid)
        megabytes: list[float] = []
        errors = requests = 0
        slices = 30
        for _ in range(slices):
            done, _ = load(served, bench, clients=4, seconds=seconds / slices, rate=capacity / 2)
            errors, requests = errors + len(done.errors), requests + len(done.ms)
            megabytes.append(server.memory_info().rss / 1e6)
        settled = megabytes[int(slices * _WARM_SHARE) :]
        rise = max(settled[-3:]) / settled[0] - 1
        yield figure(
            f"errors in {seconds / 60:g} minutes at half load",
            errors,
            "0",
            errors == 0,
            requests=requests,
        )
        yield figure(
            f"rise of memory in {seconds / 60:g} minutes at half load",
            rise,
            "within 0.05",
            rise <= 0.05,
            megabytes=[round(value) for value in settled[::4]],
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    for found in main(parser.parse_args().seconds):
        print(json.dumps(found), flush=True)
