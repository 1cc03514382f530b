"""Hostile requests: made again from their numbers, and judged against the real server."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.cli.app import app
from benchmarks.common.http_client import FAILED
from benchmarks.hostile.requests import HostileRequests, read_corpus
from benchmarks.hostile.run import HostileFigures

CASES = Path(__file__).parents[2] / "cases"
FIELDS = {"target": "open_rate", "campaign_type": "Newsletter", "industry": "Retail"}


def test_a_request_is_made_again_from_its_number():
    corpus = read_corpus(CASES / "images")
    one, other = (HostileRequests(corpus, FIELDS, seed=3) for _ in range(2))
    assert [one.make(n) for n in range(50)] == [other.make(n) for n in range(50)]
    assert one.make(7) != HostileRequests(corpus, FIELDS, seed=4).make(7)
    kinds = Counter(one.make(n).headers.get("Content-Type", "").split(";")[0] for n in range(600))
    assert {"application/json", "multipart/form-data", "image/png", "text/plain"} <= kinds.keys()


def test_a_classifier_gets_json_that_it_can_read():
    """Fields of a recommender would be refused before an image is decoded."""
    made = HostileRequests([b"image"], {"review_kind": "Box Review"}, seed=0)
    bodies = [made.make(n) for n in range(2000)]
    texts = [b.data for b in bodies if b.headers.get("Content-Type") == "application/json"]
    plain = b'{"image": "aW1hZ2U=", "review_kind": "Box Review"}'
    several = b'{"images": ["aW1hZ2U=", "aW1hZ2U="], "review_kind": "Box Review"}'
    assert plain in texts
    assert several in texts


def test_own_errors_and_those_of_torchserve_are_told_apart():
    figures = HostileFigures()
    figures.add(0, 200, b"{}")
    figures.add(1, 500, b'{"code": 500, "type": "ErrorDataDecoderException"}')
    figures.add(2, 503, b'{"code": 503, "type": "ServiceUnavailableException"}')
    assert not figures.passed  # the neighbour has not been answered
    figures.neighbour_answers = 1
    assert figures.passed
    figures.add(3, 500, b'{"error": {"code": "internal"}}')
    assert not figures.passed
    assert (figures.own_errors, figures.server_errors) == ([3], [1])
    silent = HostileFigures(neighbour_answers=1)
    silent.add(0, FAILED, b"")
    assert not silent.passed
    assert figures.plain()["statuses"] == {"200": 1, "500": 2, "503": 1}


def test_only_a_full_queue_may_be_503():
    figures = HostileFigures(neighbour_answers=1)
    full = b'{"code": 503, "type": "ServiceUnavailableException", "message": "no worker"}'
    figures.add(0, 503, full)
    assert figures.passed
    figures.add(1, 503, b'{"code": 503, "message": "Prediction failed"}')
    assert (figures.own_errors, figures.passed) == ([1], False)


@pytest.mark.slow
@pytest.mark.parametrize("export", ["tiny_export", "classify_export"])
def test_the_server_holds_against_the_cases(export, request):
    bundle = request.getfixturevalue(export).bundle
    words = ["hostile", str(bundle), "--corpus", str(CASES), "--requests", "400"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output.strip().splitlines()[-1])
    assert figures["requests"] == 400
    assert figures["own_errors"] == figures["worker_deaths"] == figures["neighbour_faults"] == 0
    assert figures["neighbour_answers"] > 5
    assert figures["statuses"]["200"] > 20
