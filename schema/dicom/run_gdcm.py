"""A program: decodes one compressed frame of a DICOM from stdin to stdout, by GDCM.

A process of its own, since GDCM ends its process over some damage, and talks to stderr. Arguments:
transfer syntax, rows, columns, bits a sample. Cells of 8 or 16 bits come out, little-endian.
"""

import sys


def main(syntax: str, rows: int, columns: int, bits: int) -> None:
    """Raises what GDCM's Python raises for damage."""
    import gdcm

    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(sys.stdin.buffer.read())
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    gray = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gray))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(1, 8 if bits <= 8 else 16, bits, bits - 1, 0))
    sys.stdout.buffer.write(image.GetBuffer().encode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
