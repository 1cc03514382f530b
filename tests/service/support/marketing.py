"""Ask a recommender as a program does."""

import io
import json
from dataclasses import dataclass
from typing import Any

from fastapi.testclient import TestClient

from tests.support.tiny_run import make_image

CONTEXT = {"campaign_type": "Newsletter", "industry": "Retail"}


def picture(number: int, file_format: str = "PNG", side: int = 96, **options: Any) -> bytes:
    """Return an image file that no catalogue has."""
    buffer = io.BytesIO()
    make_image(700 + number, side).save(buffer, file_format, **options)
    return buffer.getvalue()


@dataclass
class Marketer:
    """A client of the service."""

    http: TestClient

    def post(self, image: bytes | None = None, advertiser: str = "ada", **fields: Any):
        """Ask; return the response."""
        given = {"advertiser": advertiser, "target": "open_rate", "context": CONTEXT, **fields}
        if isinstance(given["context"], dict):
            given["context"] = json.dumps(given["context"])
        files = {"image": ("a.png", image)} if image is not None else None
        return self.http.post("/v1/recommend", data=given, files=files)

    def ask(self, image: bytes | None = None, advertiser: str = "ada", **fields: Any) -> dict:
        """Ask; return the answer."""
        answer = self.post(image, advertiser, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def questions(self, advertiser: str = "ada", **query: Any) -> list[dict]:
        answer = self.http.get("/v1/questions", params={"advertiser": advertiser, **query})
        assert answer.status_code == 200, answer.text
        return answer.json()["questions"]
