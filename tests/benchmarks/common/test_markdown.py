import pytest
from jinja2 import UndefinedError

from benchmarks.common.markdown import render

FIGURE = {"median": 1.0, "low": 0.5, "high": 1.5}
RESULTS = {
    "command": "again",
    "model": {"backbone": "resnet18", "image_size": 64, "candidates": 6, "alternates": 20},
    "machine": {"processor": "CPU", "cores": 2, "libraries": {}},
    "rounds": 5,
    "results": [
        {
            "precision": "fp32",
            "image": "photo",
            "stages_ms": {"decode": FIGURE, "total": FIGURE},
            "forward_ms": FIGURE,
            "pipeline_over_forward": FIGURE,
            "second_ms": FIGURE,
            "first_over_second": FIGURE,
        }
    ],
}


def test_paragraphs_are_one_line_and_tables_keep_theirs():
    text = render("pipeline.md.j2", RESULTS, stages=("decode", "total"))
    heading, paragraph, table = text.split("\n\n")
    assert heading == "## One request in process: resnet18"
    assert "\n" not in paragraph
    assert paragraph.startswith("resnet18 at 64 px, 6 candidates, 20 alternates. `catalogue` is")
    assert paragraph.endswith("CPU, 2 cores; onnxruntime -. 5 requests a row. Command: `again`.")
    assert table.splitlines() == [
        "| graph, image | decode, ms | total, ms | raw forward, ms | forward ÷ request | "
        "second question, ms | first ÷ second |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| fp32, photo |" + 6 * " 1.00 (0.50 to 1.50) |",
    ]


def test_a_missing_key_is_an_error():
    with pytest.raises(UndefinedError, match="rounds"):
        render("pipeline.md.j2", {k: v for k, v in RESULTS.items() if k != "rounds"}, stages=())
