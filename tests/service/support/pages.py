"""Ask a service as a program does."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import cv2
from fastapi.testclient import TestClient

from tests.support.labelled_images import draw_labelled


def photo(number: int, suffix: str = ".png", side: int = 160, quality: int = 85) -> bytes:
    """Return an image file of a shape."""
    image, _, _ = draw_labelled(3000 + number)
    large = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    return cv2.imencode(suffix, large[..., ::-1], options)[1].tobytes()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Caller:
    """A client of the service."""

    http: TestClient

    def classify(self, *images: bytes, advertiser: str = "ada", **fields: Any) -> list[dict]:
        files = [("images", (f"{n}", data)) for n, data in enumerate(images)]
        if "configured" in fields:
            fields["configured"] = json.dumps(fields["configured"])
        answer = self.http.post(
            "/v1/classify", files=files, data={"advertiser": advertiser, **fields}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["images"]

    def fix(self, image: bytes, label: str, value: str, before: str | None = None, **more: Any):
        body = {
            "advertiser": "ada",
            "sha256": sha256(image),
            "label": label,
            "value": value,
            "before": before,
            "who": "ana",
            **more,
        }
        return self.http.post("/v1/fixes", json=body)

    def undo(self, number: int, advertiser: str = "ada", who: str = "ana"):
        return self.http.post(
            f"/v1/fixes/{number}/undo", json={"advertiser": advertiser, "who": who}
        )

    def history(self, advertiser: str = "ada", **query: Any) -> list[dict]:
        answer = self.http.get("/v1/fixes", params={"advertiser": advertiser, **query})
        assert answer.status_code == 200, answer.text
        return answer.json()["fixes"]
