"""Which images stand for a split: over its patients and its classes."""

import hashlib
from collections.abc import Sequence

import numpy as np


def choose(
    ids: Sequence[str], patients: Sequence[str], labels: np.ndarray, count: int
) -> list[int]:
    """Indices of `count` images (all if there are fewer): the same images in any order of input.

    Classes and "no finding" take turns, the rarest first, so that each is there as far as `count`
    reaches. A patient's second image comes only after every patient has one, or where a class has
    no other positive. Otherwise a hash of the image's id decides.

    Args:
        ids: of the images, all different.
        patients: whom each shows.
        labels: k-hot [N, C].
        count: how many.
    """
    positive = np.asarray(labels) > 0
    groups = np.column_stack([positive, ~positive.any(axis=1)])  # [N, C + 1]
    order = sorted(range(len(ids)), key=lambda i: hashlib.sha256(ids[i].encode()).digest())
    rarest = np.argsort(groups.sum(axis=0), kind="stable")
    queues = [[i for i in order if groups[i, group]] for group in rarest]
    chosen: set[int] = set()
    seen: set[str] = set()

    def add(image: int) -> None:
        chosen.add(image)
        seen.add(patients[image])

    for queue in queues:
        if queue and len(chosen) < count and chosen.isdisjoint(queue):
            add(next((i for i in queue if patients[i] not in seen), queue[0]))
    for repeat in (False, True):
        turns = [iter(queue) for queue in queues]
        while turns and len(chosen) < count:
            turn = turns.pop(0)
            fits = (i for i in turn if i not in chosen and (repeat or patients[i] not in seen))
            if (found := next(fits, None)) is not None:
                add(found)
                turns.append(turn)
    return sorted(chosen)
