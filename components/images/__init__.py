"""Images inside a TensorFlow graph: decoding, resizing and guarding; no step."""
