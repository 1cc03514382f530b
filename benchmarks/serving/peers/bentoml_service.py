"""augrank's runtime behind BentoML: a service class with one API."""

import json
from typing import Any

import bentoml

from benchmarks.serving.peers import runtime


@bentoml.service(workers=runtime.workers(), traffic={"timeout": 60})
class Recommend:
    """Answers one request at a time; the JSON fields are the method's arguments."""

    def __init__(self) -> None:
        self.recommender = runtime.load()

    @bentoml.api
    def recommend(self, image: str, target: str, context: dict[str, Any]) -> dict[str, Any]:
        """Return the answer as a JSON object."""
        body = {"image": image, "target": target, "context": context}
        answer: dict[str, Any] = json.loads(runtime.answer(self.recommender, body))
        return answer
