"""systemd's units, as tests read them."""

import configparser
from pathlib import Path


def read_unit(path: Path) -> configparser.ConfigParser:
    """A unit's sections; a key that stands twice is an error."""
    parser = configparser.ConfigParser(delimiters=("=",), strict=True, interpolation=None)
    parser.optionxform = str
    parser.read(path)
    return parser
