"""cxrflow: a TFX pipeline, server, client and edge bundle for chest X-ray classification.

Its subpackages are the repository's top-level folders: see setup.py.
"""

from contextlib import suppress

__all__ = ["__version__"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version  # takes a while, and few ask

        return version("cxrflow")
    if name[0].isupper():  # a kind of artifact, which Kubeflow imports by the name cxrflow.Kind
        with suppress(ImportError, AttributeError):  # the client's environment has no TFX
            from cxrflow.components import artifacts

            return getattr(artifacts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
