"""What stops the setup, in one line, and the likely cause of a failed command."""

import re

HELP = "Debian 13, Ubuntu 24.04 and newer need no such step"


class SetupError(Exception):
    """What is wrong and what to do, in one line."""


CAUSES = (
    (
        r"No space left on device|Disk quota exceeded|os error (28|122)\b",
        "the disk is full: .venv needs 4 GB, and uv's cache as much if it lies on another disk"
        " (UV_CACHE_DIR moves it)",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|invalid peer certificate",
        "the server's certificate is not trusted; if your network has its own authority, set"
        " PIP_CERT to its file",
    ),
    (
        r"load_verify_locations",
        "this system knows no certificate authorities: install its package ca-certificates",
    ),
    (
        r"DO NOT MATCH THE HASHES|[Hh]ash mismatch",
        "a downloaded package is not the one of requirements.lock: the index or a proxy altered it",
    ),
    (
        r"\b407\b|ProxyError|tunnel error",
        "the proxy does not let us through; check HTTPS_PROXY",
    ),
    (
        r"\b40[13] (Client Error|Unauthorized|Forbidden)",
        "the package index refuses access; check the credentials in pip's configuration",
    ),
    (
        r"name resolution|Name or service not known|Failed to resolve|Temporary failure|dns error|"
        r"NewConnectionError|ConnectTimeout|ReadTimeout|timed out|Network is unreachable|"
        r"error sending request|Could not (connect|resolve)|Connection (failed|refused|reset)",
        "no network: packages cannot be downloaded; connect this machine, or configure mirrors that"
        " it reaches (pip's index-url, /etc/apt)",
    ),
    (
        r"No matching distribution|No solution found|no wheels? with a matching|was not found in",
        "no package index within reach has a package of requirements.lock; check the network, and"
        " whether your mirror is complete",
    ),
    (
        r"does not have a Release file|404 +Not Found",
        "the Debian or Ubuntu mirror of /etc/apt lacks the newer release: " + HELP,
    ),
)


def likely_cause(output: str) -> str:
    """One line for a failed command's output."""
    for pattern, cause in CAUSES:
        if re.search(pattern, output):
            return cause
    lines = [line.strip() for line in output.split("\n") if line.strip()]
    return lines[-1][:200] if lines else "failed without a word"
