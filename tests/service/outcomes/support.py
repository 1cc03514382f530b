"""A program that sends pictures to recipients and reports what came of them."""

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import func, select

from augrank.images.augmentations import augmentation_set
from service.database.session import Database
from tests.service.support.pages import sha256

CONTEXT = {"campaign_type": "Newsletter", "industry": "Retail"}
NAMES = augmentation_set("seed").names


@dataclass
class Campaign:
    """A program that sends pictures to recipients."""

    http: TestClient
    advertiser: str = "ada"

    def show(self, image: bytes, context: dict[str, str] = CONTEXT) -> dict[str, Any]:
        """Ask about an image, so that it is known."""
        fields = {"advertiser": self.advertiser, "context": json.dumps(context)}
        answer = self.http.post("/v1/recommend", data=fields, files={"image": ("a", image)})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ask(self, image: bytes, **query: Any):
        given = {"advertiser": self.advertiser, "sha256": sha256(image)}
        given |= {"context": json.dumps(CONTEXT)} | query
        return self.http.get(
            "/v1/assignments", params={k: v for k, v in given.items() if v is not None}
        )

    def assign(self, image: bytes, **query: Any) -> dict[str, Any]:
        answer = self.ask(image, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def look(self, key: str, advertiser: str | None = None):
        query = {"advertiser": advertiser or self.advertiser}
        return self.http.get(f"/v1/assignments/{key}", params=query)

    def report(self, *given: dict[str, Any], advertiser: str | None = None, who: str = "mailer"):
        body = {"advertiser": advertiser or self.advertiser, "who": who, "reports": list(given)}
        return self.http.post("/v1/outcomes", json=body)

    def send_csv(self, text: str | bytes, **query: Any):
        given = {"advertiser": self.advertiser, "who": "mailer"} | query
        headers = {"Content-Type": "text/csv"}
        return self.http.post("/v1/outcomes/csv", params=given, content=text, headers=headers)

    def manifest(self, advertiser: str | None = None) -> list[dict[str, str]]:
        query = {"advertiser": advertiser or self.advertiser}
        answer = self.http.get("/v1/outcomes/manifest", params=query)
        assert answer.status_code == 200, answer.text
        return list(csv.DictReader(io.StringIO(answer.text)))


def count(database: Database, table: type) -> int:
    with database.reads() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0
