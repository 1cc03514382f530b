"""Requests in every wire format, through ``read_body`` and ``parse_request``."""

import base64
import json

import pytest

from augrank.errors import BadRequest, RequestError, UnsupportedImage
from augrank.runtime.wire import read_body
from augrank.tasks.recommend.request import MAX_CANDIDATES, Request, parse_request

IMAGE = b"\x89PNG..."
ENCODED = base64.b64encode(IMAGE).decode()
JSON = {"content-type": "application/json"}


def parse(parts: dict, headers: dict) -> Request:
    return parse_request(read_body(parts, headers))


def test_the_three_ways_say_the_same_thing():
    context = {"campaign_type": "Newsletter", "industry": "Retail"}
    flat = {"target": "open_rate", "alternates": "3", **context}
    raw = parse(
        {"body": bytearray(IMAGE)},
        {"content-type": "image/png", "x-augrank-fields": json.dumps(flat)},
    )
    multipart = parse(
        {"image": IMAGE, "target": b"open_rate", "alternates": "3", **context},
        {"content-type": "multipart/form-data; boundary=x"},
    )
    body = {"image": ENCODED, "target": "open_rate", "alternates": 3, "context": context}
    read = parse({"body": body}, JSON)
    unread = parse({"body": json.dumps(body).encode()}, JSON)
    attributes = parse(
        {"body": IMAGE},
        {
            "content-type": "image/png",
            "x-augrank-fields": "target=open_rate&alternates=3&campaign_type=Newsletter"
            "&industry=Retail",
        },
    )
    as_json = parse(
        {"body": IMAGE},
        {
            "content-type": "image/png",
            "x-amzn-sagemaker-custom-attributes": json.dumps(
                {"target": "open_rate", "alternates": 3, "context": context}
            ),
        },
    )
    assert raw.image == IMAGE
    assert raw.context == context
    assert raw == multipart == read == unread == attributes == as_json


def test_header_fields_and_body_are_merged_and_null_is_left_out():
    header = json.dumps(
        {"target": None, "candidates": ["rotate"], "context": {"industry": "Retail"}}
    )
    body = {"image": ENCODED, "context": {"campaign_type": "Survey"}}
    request = parse({"body": body}, {**JSON, "x-augrank-fields": header})
    assert request.target is None
    assert request.candidates == ("rotate",)
    assert request.context == {"industry": "Retail", "campaign_type": "Survey"}


def test_base64_may_be_wrapped_in_lines():
    wrapped = base64.encodebytes(bytes(300)).decode()
    assert parse({"body": {"image": wrapped}}, JSON).image == bytes(300)


def test_options_and_data_urls():
    request = parse(
        {"body": {"image": f"data:image/png;base64,{ENCODED}", "candidates": ["rotate"],
                  "thumbnails": True}},
        JSON,
    )  # fmt: skip
    assert request.image == IMAGE
    assert request.candidates == ("rotate",)
    assert request.thumbnails is True
    form = parse({"data": IMAGE, "candidates": "rotate,sketch", "thumbnails": "1"}, {})
    assert form.candidates == ("rotate", "sketch")
    assert form.thumbnails is True


@pytest.mark.parametrize(
    ("fields", "headers", "error", "message"),
    [
        ({}, {}, BadRequest, "no image"),
        ({"body": b""}, {"content-type": "image/jpeg"}, BadRequest, "no image"),
        ({"body": b""}, JSON, BadRequest, "no image"),
        ({"body": {"target": "open_rate"}}, JSON, BadRequest, "no image"),
        ({"target": "open_rate"}, {"content-type": "multipart/form-data"}, BadRequest, "no imag"),
        ({"body": b"{'a'"}, JSON, BadRequest, "not valid JSON"),
        ({"body": b"[1]"}, JSON, BadRequest, "not a JSON object"),
        ({"body": b"[" * 100_000}, JSON, BadRequest, "JSON"),
        ({"body": {"image": "@@@"}}, JSON, BadRequest, "base64"),
        ({"body": {"image": 3}}, JSON, BadRequest, "base64"),
        ({"body": {"image": ENCODED, "tarlet": "x"}}, JSON, BadRequest, "did you mean target"),
        ({"body": {"image": ENCODED, "alternates": 1e9}}, JSON, BadRequest, "alternates"),
        ({"body": {"image": ENCODED, "context": [1]}}, JSON, BadRequest, "context"),
        (
            {"body": {"image": ENCODED, "candidates": ["a"] * (MAX_CANDIDATES + 1)}},
            JSON,
            BadRequest,
            f"at most {MAX_CANDIDATES} items",
        ),
        ({"body": IMAGE}, {"content-type": "text/plain"}, UnsupportedImage, "image/jpeg"),
        ({"body": IMAGE}, {"content-type": "image/tiff"}, UnsupportedImage, "image/gif"),
        ({"image": "image.jpg"}, {}, UnsupportedImage, "with the @"),
        ({"image": IMAGE, "industry": b"\xff"}, {}, BadRequest, "not text"),
        ({"image": IMAGE, "context": "x"}, {}, BadRequest, "as separate fields"),
        ({"body": IMAGE}, {"x-augrank-fields": "{x"}, BadRequest, "not valid JSON"),
        ({"body": IMAGE}, {"x-augrank-fields": '{"context": [1]}'}, BadRequest, "not valid JSON"),
        ({"body": {"image": ENCODED, "context": {"a": {}}}}, JSON, BadRequest, "text or a number"),
        ({"body": {"image": ENCODED, "context": {"a": "x" * 201}}}, JSON, BadRequest, "at most"),
        ({"body": {"image": ENCODED, "target": "x" * 10**6}}, JSON, BadRequest, "target"),
    ],
)
def test_what_cannot_be_read_says_what_is_allowed(fields, headers, error, message):
    with pytest.raises(error, match=message) as caught:
        parse(fields, headers)
    assert isinstance(caught.value, RequestError)
    assert 400 <= caught.value.status < 500
    assert len(json.dumps(caught.value.to_dict())) < 2000
