"""augrank's runtime behind LitServe: the four hooks, and the server that starts the workers."""

from typing import Any

import litserve
from fastapi import Response

from benchmarks.serving.peers import runtime


class RecommendAPI(litserve.LitAPI):
    """Answers one request at a time."""

    def setup(self, device: str) -> None:
        """Load once in each worker."""
        self.recommender = runtime.load()

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON object that LitServe parsed."""
        return request

    def predict(self, request: dict[str, Any]) -> str:
        """Return the answer's JSON text."""
        return runtime.answer(self.recommender, request)

    def encode_response(self, output: str) -> Response:
        """Send the text unchanged."""
        return Response(output, media_type="application/json")


if __name__ == "__main__":
    server = litserve.LitServer(
        RecommendAPI(), accelerator="cpu", workers_per_device=runtime.workers(), timeout=60
    )
    server.run(
        host="127.0.0.1", port=runtime.port(), generate_client_file=False, log_level="warning"
    )
