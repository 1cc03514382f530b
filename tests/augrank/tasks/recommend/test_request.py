"""Requests in every wire format, through ``read_body`` and ``parse_request``."""

import base64
import gzip
import json
import zlib

import pytest

from augrank.errors import BadRequest, ImageTooLarge, RequestError, UnsupportedImage
from augrank.runtime.wire import MAX_BODY_BYTES, read_body, read_requests
from augrank.tasks.recommend.request import MAX_CANDIDATES, Request, parse_request

IMAGE = b"\x89PNG\xfb\xff."
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
    "content_type",
    [
        "",
        "image/jpg",
        "image/pjpeg; charset=binary",
        "IMAGE/X-Anything",
        "application/x-image",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/plain",
    ],
)
def test_an_image_is_one_whatever_type_it_is_sent_as(content_type):
    body = b"\x89PNG\r\n\x1a\n"
    assert parse({"body": body}, {"content-type": content_type}).image == body


@pytest.mark.parametrize(
    "content_type", ["", "application/octet-stream", "text/plain", "image/png"]
)
@pytest.mark.parametrize("start", [b"", b" \r\n", b"\xef\xbb\xbf"])
def test_json_is_read_without_its_type(content_type, start):
    body = start + json.dumps({"image": ENCODED, "target": "open_rate"}).encode()
    request = parse({"body": body}, {"content-type": content_type})
    assert (request.image, request.target) == (IMAGE, "open_rate")


@pytest.mark.parametrize(
    "encoded",
    [
        ENCODED.rstrip("="),
        base64.urlsafe_b64encode(IMAGE).decode(),
        base64.urlsafe_b64encode(IMAGE).decode().rstrip("="),
        f"DATA:image/png;base64,{ENCODED}",
        {"b64": ENCODED},
    ],
)
def test_base64_may_be_of_any_alphabet_and_without_padding(encoded):
    assert parse({"body": {"image": encoded}}, JSON).image == IMAGE


def test_headers_may_hold_raw_utf8():
    """Java servers read header bytes as Latin-1."""
    header = "campaign_type=M\u00f6bel&target=x".encode().decode("latin-1")
    request = parse({"body": IMAGE}, {"content-type": "image/png", "x-augrank-fields": header})
    assert request.context == {"campaign_type": "M\u00f6bel"}


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_bodies_may_be_compressed(encoding):
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding]
    headers = {"content-encoding": encoding}
    assert parse({"body": pack(IMAGE)}, headers | {"content-type": "image/png"}).image == IMAGE
    members = gzip.compress(IMAGE[:3]) + gzip.compress(IMAGE[3:])
    two = parse({"body": members}, {"content-encoding": "gzip", "content-type": "image/png"})
    assert two.image == IMAGE
    body = json.dumps({"image": ENCODED, "target": "open_rate"}).encode()
    assert parse({"body": pack(body)}, headers | JSON).target == "open_rate"


def test_instances_are_several_requests_that_share_header_fields():
    body = {"instances": [{"image": ENCODED}, {"image": {"b64": ENCODED}, "target": "a"}]}
    found = read_requests({"body": body}, {**JSON, "x-augrank-fields": "target=b"})
    assert found.instances
    assert [parse_request(each).target for each in found.bodies] == ["b", "a"]
    beside = read_requests({"body": {**body, "target": "c", "min_lift": 0.1}}, JSON)
    parsed = [parse_request(each) for each in beside.bodies]
    assert [(each.target, each.min_lift) for each in parsed] == [("c", 0.1), ("a", 0.1)]
    assert not read_requests({"body": {"image": ENCODED}}, JSON).instances


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
        ({"body": {"image": 3}}, JSON, BadRequest, "base64 text.*got 3"),
        ({"body": {"image": {"url": "x"}}}, JSON, BadRequest, "got an object with 'url'"),
        ({"body": {"image": [1, 2]}}, JSON, BadRequest, "got a list of 2"),
        (
            {"body": {"image": "https://shop/a.jpg"}},
            JSON,
            BadRequest,
            "URL.*base64.*--allow-urls",
        ),
        ({"body": b'{"image": "a", "image": "b"}'}, JSON, BadRequest, "has 'image' twice"),
        (
            {"body": b'{"image": "YQ==", "context": {"a": 1, "a": 2}}'},
            JSON,
            BadRequest,
            "has 'a' twice",
        ),
        (
            {"body": b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n\xff\xd8'},
            {"content-type": "image/jpeg"},
            BadRequest,
            "the body is multipart.*expected Content-Type: multipart/form-data; boundary",
        ),
        (
            {"\x89PNG": "", "target": "x"},
            {"content-type": "application/x-www-form-urlencoded"},
            BadRequest,
            "read as a form.*expected Content-Type: image/jpeg.*curl",
        ),
        ({"file": IMAGE, "target": "x"}, {}, BadRequest, "got parts: file, target"),
        ({"body": {"img": ENCODED}}, JSON, BadRequest, "got fields: img"),
        ({}, {"content-type": "multipart/form-data"}, BadRequest, "without a complete part.*--B"),
        ({"body": {"instances": []}}, JSON, BadRequest, "a list of 1 to 32 objects"),
        ({"body": {"instances": {"image": "a"}}}, JSON, BadRequest, "got an object with 'image'"),
        (
            {"body": {"instances": [{"image": ENCODED}, {"image": "@@@"}]}},
            JSON,
            BadRequest,
            r"instances\[1\]: image is not valid base64",
        ),
        (
            {"body": {"instances": [{"image": ENCODED}, {"img": ENCODED}]}},
            JSON,
            BadRequest,
            r"instances\[1\]: the request has no image",
        ),
        (
            {"image": gzip.compress(IMAGE, mtime=0)},
            {"content-encoding": "gzip", "content-type": "multipart/form-data"},
            BadRequest,
            "a compressed multipart body cannot be read",
        ),
        (
            {"target": "x"},
            {"content-type": "multipart/form-data"},
            BadRequest,
            "got parts: target.*the end of the body is missing",
        ),
        ({"body": {"instances": ["a"]}}, JSON, BadRequest, r"instances\[0\] is not a JSON object"),
        ({"body": IMAGE}, {"content-encoding": "br"}, BadRequest, "expected gzip, or none, got br"),
        ({"body": IMAGE}, {"content-encoding": "gzip"}, BadRequest, "the body is not gzip"),
        (
            {"body": gzip.compress(IMAGE, mtime=0)[:-6]},
            {"content-encoding": "gzip"},
            BadRequest,
            "end of its gzip data is missing",
        ),
        (
            {"body": gzip.compress(bytes(MAX_BODY_BYTES + 1), mtime=0)},
            {"content-encoding": "gzip"},
            ImageTooLarge,
            "at most 52,428,800 bytes, decompressed",
        ),
        ({"body": {"image": ENCODED, "tarlet": "x"}}, JSON, BadRequest, "did you mean target"),
        ({"body": {"image": ENCODED, "alternates": 1e9}}, JSON, BadRequest, "alternates"),
        ({"body": {"image": ENCODED, "context": [1]}}, JSON, BadRequest, "context"),
        (
            {"body": {"image": ENCODED, "candidates": ["a"] * (MAX_CANDIDATES + 1)}},
            JSON,
            BadRequest,
            f"at most {MAX_CANDIDATES} items",
        ),
        ({"body": b"hello"}, {"content-type": "text/plain"}, UnsupportedImage, "image/jpeg"),
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
