"""The row of a decided image has the columns of ``augrank score``, all of them filled."""

from types import SimpleNamespace

from augrank.batch.columns import classify_columns
from augrank.tasks.classify.response import Answer
from examples.airflow.day.collect import CollectedImage
from examples.airflow.day.decide import _row

ANSWER = {
    "images": [
        {
            "sha256": "0" * 64, "width": 8, "height": 8, "format": "PNG",
            "labels": {"kind": {"value": "box", "probability": 0.9, "set": ["box"],
                                "top": [{"name": "box", "probability": 0.9},
                                        {"name": "ball", "probability": 0.1}]}},
            "ranks": {"likes": {"score": 0.8, "percentile": 71.5, "probability": 0.69}},
            "tags": {"kind": {"value": "box", "source": "classified", "probability": 0.9}},
            "error": None,
        }
    ],
    "coverage": 0.9, "model": "shop", "bundle_version": "1", "engine": "fp32 on onnxruntime",
    "timings_ms": {"total": 1.0},
}  # fmt: skip


class Rules:
    label, rules = "kind", ("Box Review",)

    def find(self, kind: str) -> str:
        return kind

    def decide(self, kind: str, names: list[str], probability: list[float]) -> tuple[str, float]:
        return "accept", probability[names.index("box")]


def test_every_column_of_a_decided_image_is_filled():
    head = SimpleNamespace(label="kind", classes=("ball", "box"))
    graph = SimpleNamespace(rules=Rules(), heads=[head])
    bundle = SimpleNamespace(version="1", spec=SimpleNamespace(graphs={"fp32": graph}))
    image = CollectedImage(path="a.png", size_bytes=1, etag="e", review_kind="Box Review")
    row = _row(3, image, Answer.model_validate(ANSWER).model_dump(), bundle)
    assert set(row) == set(classify_columns(("kind",), ("likes",), ("kind",)).names)
    assert {name for name, value in row.items() if value is None} == {"error"}
    assert (row["likes_score"], row["likes_percentile"], row["likes_above_median"]) == (
        0.8, 71.5, 0.69,
    )  # fmt: skip
    assert (row["decision"], row["credit_probability"]) == ("accept", 0.9)
