"""A process for tests: `--exit CODE` prints its arguments; FILE says its number and waits."""

import os
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    if sys.argv[1] == "--exit":
        print(sys.argv[1:])
        sys.exit(int(sys.argv[2]))
    aside = Path(sys.argv[1] + ".part")
    aside.write_text(str(os.getpid()))
    aside.rename(sys.argv[1])
    time.sleep(600)
