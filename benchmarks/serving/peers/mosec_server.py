"""augrank's runtime behind mosec: a worker class, and the server that forks it."""

from typing import Any

from mosec import Server, Worker

from benchmarks.serving.peers import runtime


class Recommend(Worker):
    """Answers one request at a time; JSON in, JSON out, as mosec does by default."""

    def __init__(self) -> None:
        self.recommender = runtime.load()

    def forward(self, data: dict[str, Any]) -> str:
        """Return the answer's JSON text."""
        return runtime.answer(self.recommender, data)

    def serialize(self, data: str) -> bytes:
        """Send the text unchanged."""
        return data.encode()


if __name__ == "__main__":
    server = Server()
    server.append_worker(Recommend, num=runtime.workers(), timeout=60)
    server.run()
