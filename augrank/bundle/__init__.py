"""The bundle: the directory that export writes and servers load. No pickle anywhere.

bundle/
  bundle.json             its spec: spec.py, and <task>_spec.py for a task's own fields
  backbone-fp32.onnx      and -int8, -fp16, if exported
  heads/open_rate.ubj     one per target
  alternates/             the catalogue: embeddings, attributes, thumbnails
  smoke.json              a request and the probabilities of its answer
  model_card.md
"""
