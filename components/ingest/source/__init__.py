"""Sources that a description in YAML makes readable: any table, any classes, images or DICOM."""

from pathlib import Path

READY = Path(__file__).parent / "ready"  # descriptions of public sets
