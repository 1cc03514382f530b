"""The bundle: the directory that export writes and servers load. No pickle anywhere.

bundle/
  bundle.json             its spec: spec.py, and <task>_spec.py for a task's own fields
  backbone-fp32.onnx      and -int8, -fp16, if exported
  heads/fp32/open_rate.trees.npz  one per target and graph: XGBoost's trees as arrays
  heads/fp32/open_rate.ubj  the same as XGBoost's own model, which servers do not read
  heads/fp32/open_rate.npz  and its posterior draws
  alternates/             the catalogue: embeddings, attributes, thumbnails
  smoke.json              a request and what its answer says
  model_card.md
"""
