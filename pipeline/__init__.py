"""What runs, in which order, with which settings."""

import os

# TensorFlow Transform would otherwise switch tf.keras to Keras 2, depending on import order.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
# gRPC would ask a proxy for this machine's own processes, such as Beam's workers.
_away = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
if _away != "*":
    _names = dict.fromkeys([*filter(None, _away.split(",")), "localhost", "127.0.0.1"])
    os.environ["no_proxy"] = ",".join(_names)
