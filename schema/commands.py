"""Commands as they are printed: so that they can be typed where they are read."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def program(name: str = "cxrflow") -> str:
    """How a program of this environment is called from here: by name where PATH has it."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and (not own.is_file() or os.path.samefile(found, own)):
        return name
    if not own.is_file():
        return name
    here = os.path.relpath(own)
    return here if not here.startswith("..") else str(own)


def command_line(*arguments: object, name: str = "cxrflow") -> str:
    """A command as it can be typed here, quoted: `command_line("serve", "--root", root)`."""
    return shlex.join([program(name), *(str(argument) for argument in arguments)])
