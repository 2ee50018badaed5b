"""Synthetic chest radiographs with planted findings, in Kaggle's layout, for demos and tests."""

from cxrflow.components.ingest.phantom.writer import MARKER, write_phantoms

__all__ = ["MARKER", "write_phantoms"]
