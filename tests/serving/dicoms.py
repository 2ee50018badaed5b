"""Synthetic DICOMs of given pixels."""

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid


def write_dicom(path: Path, pixels: np.ndarray | None, bits: int = 12, **elements: object) -> Path:
    """A DX image of uint8, uint16 or int16 pixels [h, w] (or [frames, h, w]).

    `elements` are added, or left out where None; `syntax` is what the file says of its coding.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID = meta.MediaStorageSOPClassUID
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    file.Modality, file.PatientName, file.PatientID = "DX", "Synthetic^Nobody", "0"
    if pixels is not None:
        file.Rows, file.Columns = pixels.shape[-2:]
        if pixels.ndim == 3:
            file.NumberOfFrames = len(pixels)
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated, file.BitsStored = 8 * pixels.itemsize, bits
        file.HighBit, file.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
        file.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    syntax = elements.pop("syntax", None)
    for name, value in elements.items():
        if value is None:
            delattr(file, name)
        else:
            setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)
    if syntax:
        _say_syntax(path, str(syntax))
    return path


def _say_syntax(path: Path, syntax: str) -> None:
    """pydicom would not write pixels that aren't coded as the file says."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filereader import read_file_meta_info
    from pydicom.filewriter import write_file_meta_info

    meta = read_file_meta_info(path)
    body = path.read_bytes()[132 + 12 + meta.FileMetaInformationGroupLength :]
    meta.TransferSyntaxUID = syntax
    start = DicomBytesIO()
    write_file_meta_info(start, meta)
    path.write_bytes(bytes(128) + b"DICM" + start.getvalue() + body)
