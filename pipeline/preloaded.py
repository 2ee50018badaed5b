"""Loads TFX and all nodes at once, for runs and for processes that others are forked from."""

from cxrflow.schema.lean import uncollected

with uncollected():
    from cxrflow.pipeline import dag, engines  # noqa: F401
