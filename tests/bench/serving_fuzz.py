"""Random and mutated request bytes against the server's gRPC port."""

import argparse
import json
import random
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import grpc

from tests.bench.figure import figure

COUNT = 100_000
METHODS = (
    "PredictionService/Predict",
    "PredictionService/Classify",
    "PredictionService/GetModelMetadata",
    "ModelService/GetModelStatus",
    "ModelService/HandleReloadConfigRequest",
)
_IN_FLIGHT = 16
_SECONDS = 30  # an answer that takes longer is a hang
# What a client's mistake may be answered with, and OK for a request that is still sound.
RIGHT_CODES = {
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "UNIMPLEMENTED",
    "RESOURCE_EXHAUSTED",
}


def main(count: int = COUNT) -> Iterator[dict[str, Any]]:
    """Yields the requests with a wrong answer, or none; the server must still answer at the end."""
    from tests.bench.serving import Bench, request_of
    from tests.serving.tiny import gray_png

    with Bench() as bench, bench.server() as served, served.channel() as channel:
        # A small image: what lies between the wire and the model is attacked here.
        found = attack(channel, request_of(gray_png(51)), count, seed=0)
        wrong = sum(n for code, n in found.items() if code not in RIGHT_CODES)
        served.stub(channel).Predict(bench.request(), timeout=_SECONDS)
        yield figure(
            "random and mutated requests: crashes, hangs and wrong codes",
            wrong,
            "0",
            wrong == 0 and served.process.poll() is None,
            requests=sum(found.values()),
            codes=dict(found),
        )


def attack(channel: grpc.Channel, sound: Any, count: int, seed: int) -> Counter[str]:
    """Sends `count` messages, most of them made from a sound PredictRequest; counts the codes."""
    rng = random.Random(seed)
    calls = [channel.unary_unary(f"/tensorflow.serving.{method}") for method in METHODS]
    message = sound.SerializeToString()
    waiting: deque[grpc.Future] = deque()
    codes: Counter[str] = Counter()
    for i in range(count):
        # Most mutations are of what Predict takes.
        call = calls[0] if rng.random() < 0.7 else rng.choice(calls)
        waiting.append(call.future(_mutated(message, rng, i), timeout=_SECONDS))
        while len(waiting) >= _IN_FLIGHT or (i == count - 1 and waiting):
            codes[waiting.popleft().code().name] += 1
    return codes


def _mutated(message: bytes, rng: random.Random, i: int) -> bytes:
    kind = i % 8
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return message
    data = bytearray(message)
    # Names, types and shapes stand at both ends; the image lies between.
    where = rng.choice((range(min(120, len(data))), range(len(data))))
    if kind == 2:
        return bytes(data[: rng.choice(where)])
    if kind == 3:
        at = rng.choice(where)
        del data[at : at + rng.randrange(1, 20)]
    elif kind == 4:
        at = rng.choice(where)
        data[at:at] = rng.randbytes(rng.randrange(1, 20))
    else:
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.choice(where)] ^= 1 << rng.randrange(8)
    return bytes(data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    for found in main(parser.parse_args().count):
        print(json.dumps(found), flush=True)
