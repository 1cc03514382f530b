"""The names of an ONNX graph's input and outputs."""

INPUT, FEATURES, LOGITS = "images", "features", "logits"
