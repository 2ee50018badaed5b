"""Which packages the environment has."""

from importlib.metadata import PackageNotFoundError, version


def installed(package: str) -> str:
    """The package's version; empty where it isn't installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
