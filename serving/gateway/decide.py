"""What is answered about one image, and the line that the audit log gets for it."""

import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

from cxrflow.schema.audit import Decision, ImageStatistics, Unlikeness
from cxrflow.schema.dicom.doubts import doubt_header, view_of
from cxrflow.schema.dicom.render import read_dicom, read_header
from cxrflow.schema.image_rules import BadImage
from cxrflow.schema.pseudonyms import Pseudonyms
from cxrflow.serving.client import Answer, Client, Failure
from cxrflow.serving.client.settings import ClientConfig
from cxrflow.serving.gateway.stored import origin
from cxrflow.serving.gateway.subject import MAKER, Subject, read_subject

OWN = "made by cxrflow itself"
_IMAGES_FAULT = "INVALID_ARGUMENT"  # gRPC's code; any other failure is the server's
_NO_ANSWER = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
_LARGEST = 3.4e38  # about float32's; JSON has no infinity


class ServersFault(Exception):
    """The server didn't answer, or not as it should: the same may be asked again later."""


@dataclass(frozen=True)
class Judged:
    """An image, and what was decided about it."""

    subject: Subject
    decision: Decision
    gray: np.ndarray | None = None  # uint8 [rows, columns], what the model was shown
    answer: Answer | None = None  # the model's, where it counts


class Judge:
    """Asks the model about images. Its methods may be called by several threads at once."""

    def __init__(self, config: ClientConfig, names: Pseudonyms, attention: bool):
        """`attention`: whether maps of it are asked for, where the model gives them."""
        self._config, self._names = replace(config, strict=False, attention=False), names
        self._plain = Client(self._config)
        self._mapping = Client(replace(self._config, attention=True)) if attention else None

    def close(self) -> None:
        """Ends the connections."""
        self._plain.close()
        if self._mapping:
            self._mapping.close()

    def judge(self, path: Path) -> Judged | None:
        """What is decided about a file; None if it holds no image.

        Raises:
            ServersFault: nothing can be decided now.
        """
        header = read_header(path, self._config.dicom)
        if header.integer("Rows") <= 0:
            return None
        subject, came = read_subject(path), origin(path)
        asked = subject.header
        decision = Decision(
            id="",
            time="",
            received=_iso(came.received),
            sender=came.sender,
            study=self._names.of("study", asked.StudyInstanceUID),
            sop_instance=self._names.of("image", asked.SOPInstanceUID),
            input_sha256=came.sha256,
            patient=subject.pseudonym(self._names),
            age=subject.age,
            sex=subject.sex,
            view=view_of(header) or None,
        )
        if header.text("Manufacturer") == MAKER:
            return self._decided(Judged(subject, replace(decision, reason=OWN)), came.received)
        if doubts := doubt_header(header):
            decision = replace(decision, answer="not_frontal_chest", reason="; ".join(doubts))
            return self._decided(Judged(subject, decision), came.received)
        try:
            picture = read_dicom(path, self._config.images, self._config.dicom)
        except BadImage as error:
            decision = replace(decision, reason=error.reason)
            return self._decided(Judged(subject, decision), came.received)
        found = cv2.imdecode(np.frombuffer(picture.png, np.uint8), cv2.IMREAD_GRAYSCALE)
        gray = np.asarray(found)
        decision = replace(decision, image=_statistics(gray), notes=picture.doubts + picture.notes)
        answer = self._ask(picture.png)
        if isinstance(answer, Failure):
            decision = replace(decision, reason=answer.reason)
            return self._decided(Judged(subject, decision, gray), came.received)
        decision = self._said(decision, answer)
        told = answer if decision.answer == "findings" else None
        return self._decided(Judged(subject, decision, gray, told), came.received)

    def _ask(self, png: bytes) -> Answer | Failure:
        """Raises ServersFault."""
        if self._mapping:
            answer = self._mapping.predict(png)
            if isinstance(answer, Answer):
                return answer
            if answer.code in _NO_ANSWER:
                raise ServersFault(answer.reason)
            # Else a model without maps, or whatever the plain question says in its turn.
        answer = self._plain.predict(png)
        if isinstance(answer, Failure) and answer.code != _IMAGES_FAULT:
            raise ServersFault(answer.reason)
        return answer

    def _said(self, decision: Decision, answer: Answer) -> Decision:
        """A decision with what the model has answered."""
        model, score = answer.model, answer.out_of_distribution_score
        flagged, unlike = answer.out_of_distribution, None
        if score is not None:
            unlike = Unlikeness(min(score, _LARGEST), model.usual_score, flagged)
        return replace(
            decision,
            answer="out_of_distribution" if flagged else "findings",
            reason=answer.doubt or None,
            model=model.name,
            model_version=model.version,
            model_digest=self._plain.digest(model.version),
            scores={one.name: one.probability for one in answer.findings},
            thresholds={one.name: one.threshold for one in answer.findings},
            decisions={one.name: one.positive for one in answer.findings},
            ood=unlike,
        )

    def _decided(self, judged: Judged, received: float) -> Judged:
        now, said = time.time(), judged.decision
        made_of = (said.sop_instance, said.input_sha256, said.model, said.model_version)
        decision = replace(
            said,
            id=self._names.of("decision", "\0".join(map(str, (*made_of, said.model_digest)))),
            time=_iso(now),
            seconds=round(now - received, 3),
        )
        return replace(judged, decision=decision)


def _statistics(gray: np.ndarray) -> ImageStatistics:
    height, width = gray.shape
    mean, deviation = (float(one[0][0]) for one in cv2.meanStdDev(gray))
    return ImageStatistics(width, height, round(mean, 3), round(deviation, 3))


def _iso(seconds: float) -> str:
    """Unix time as ISO 8601 in UTC, with milliseconds."""
    text = datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
