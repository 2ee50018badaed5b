"""What Beam's workers in other processes do in a test; they import Beam for it, but not TFX."""

import os

import apache_beam as beam


class Write(beam.DoFn):
    """Writes a file for each element: in which process and folder, and with which Keras."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def process(self, number: int) -> None:
        with open(f"{self.folder}/{number}", "x") as file:
            file.write(f"{os.getpid()} {os.getcwd()} {os.environ.get('TF_USE_LEGACY_KERAS')}")
