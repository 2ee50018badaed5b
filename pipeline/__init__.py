"""What runs, in which order, with which settings."""

import os

# TensorFlow Transform would otherwise switch tf.keras to Keras 2, depending on import order.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
