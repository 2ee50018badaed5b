"""The client's way to a DICOM's picture: `schema.dicom`'s renderer, which ingest has too."""

from cxrflow.schema.dicom.render import (
    DicomIdentity,
    DicomPicture,
    is_dicom,
    read_dicom,
    render_dicom,
)

__all__ = ["DicomIdentity", "DicomPicture", "is_dicom", "read_dicom", "render_dicom"]
