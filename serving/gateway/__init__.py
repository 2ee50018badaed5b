"""A node of a hospital's network beside the server: DICOM in, the model's answer as DICOM out."""
