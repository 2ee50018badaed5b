"""What Beam's workers in other processes do in a test; they import Beam for it, but not TFX."""

import os
import signal

import apache_beam as beam


class Write(beam.DoFn):
    """Writes a file for each element: in which process and folder, and with which Keras.

    The one that has the number `deadly` kills its process instead.
    """

    def __init__(self, folder: str, deadly: int = -1) -> None:
        self.folder = folder
        self.deadly = deadly

    def process(self, number: int) -> None:
        if number == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        with open(f"{self.folder}/{number}", "x") as file:
            file.write(f"{os.getpid()} {os.getcwd()} {os.environ.get('TF_USE_LEGACY_KERAS')}")
