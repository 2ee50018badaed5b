"""Which modules of ours each node runs, by hand: what the tests hold the computed keys against."""

EXECUTORS = {
    "RecipeCheck": ("cxrflow.components.train.executor",),
    "ImageExampleGen": ("cxrflow.components.ingest.executor",),
    "ValidationGate": ("cxrflow.components.validate.executor",),
    "Transform": ("cxrflow.components.transform.executor",),
    "Trainer": ("cxrflow.components.train.run",),
    "Evaluator": (
        "cxrflow.components.evaluate.extractors",
        "cxrflow.components.evaluate.tfma_config",
        "cxrflow.components.evaluate.together.executor",
    ),
    "MemberGate": ("cxrflow.components.evaluate.member.executor",),
    "Gate": ("cxrflow.components.evaluate.executor",),
    "Scorer": ("cxrflow.components.score.executor",),
    "Baselines": ("cxrflow.components.floor.executor",),
    "Ensemble": ("cxrflow.components.ensemble.executor",),
    "Localiser": ("cxrflow.components.localise.executor",),
    "ModelCard": ("cxrflow.components.card.executor",),
    "ServingCheck": ("cxrflow.components.publish.check_executor",),
    "Pusher": ("cxrflow.components.publish.executor",),
    "EdgeExport": ("cxrflow.components.edge.export.executor",),
    "EdgeEvaluator": ("cxrflow.components.edge.parity.executor",),
    "EdgePusher": ("cxrflow.components.edge.push.executor",),
    "Tuner": ("cxrflow.components.study.executor", "cxrflow.components.study.tuner"),
}
