"""cxrflow: a TFX pipeline, server, client and edge bundle for chest X-ray classification.

Its subpackages are the repository's top-level folders: see setup.py.
"""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # takes a while, and few ask

        return version("cxrflow")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
