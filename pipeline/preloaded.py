"""What the processes of nodes and of Beam's workers are forked with. Imports TFX."""

from cxrflow.schema.lean import uncollected

with uncollected():
    from cxrflow.pipeline import dag, engines  # noqa: F401
