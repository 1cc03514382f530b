"""The answer that a deployed endpoint should give to the smoke request."""

import json
from pathlib import Path

from export.sagemaker.invoke import load_smoke_request


def smoke_answer(dist: Path) -> bytes:
    """Return what the fp32 graph of an export answers, as far as the check reads it."""
    known = load_smoke_request(dist).answers["fp32"]
    scores = [{"name": name, "probability": p} for name, p in known.probabilities.items()]
    content = {
        "engine": "fp32 on onnxruntime",
        "candidates": scores,
        "best_candidate": {"name": known.best_candidate},
    }
    return json.dumps(content).encode()
