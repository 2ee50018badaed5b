"""How a DICOM becomes the picture that models are trained on: one renderer for all rooms."""
