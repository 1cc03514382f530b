"""Requests from any files: whole, damaged, mislabelled, with fields that do not fit."""

import base64
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from augrank.errors import BadRequest
from benchmarks.common.http_client import Payload

Option = TypeVar("Option")
MAX_FILE_BYTES = 4 * 1024 * 1024  # of the corpus; larger files are left out
BOUNDARY = "frontier"
CONTENT_TYPES = (
    "image/png",
    "image/jpeg",
    "image/jpg",
    "image/x-unknown",
    "application/octet-stream",
    "application/x-image",
    "text/plain",
    "text/html; charset=utf-16",
    "application/json",
    "application/json; charset=latin-1",
    "multipart/form-data",
    f"multipart/form-data; boundary={BOUNDARY}",
    "multipart/form-data; boundary=",
    "application/x-www-form-urlencoded",
    "*/*",
    "a" * 300,
    "",
)
VALUES = (
    "", " ", "0", "-1", "1e309", "nan", "null", "true", "[]", "{}", "\u00e9\u4e2d", "a" * 5000,
    "../../etc/passwd", "%00", "open_rate,open_rate", "\u202e", "'; --",
)  # fmt: skip
NAMES = (
    "target", "candidates", "alternates", "thumbnails", "augmentation", "min_lift", "context",
    "campaign_type", "industry", "product_type", "review_kind", "coverage", "top", "configured",
    "image", "images", "urls", "data", "instances", "nonsense",
)  # fmt: skip


def read_corpus(folder: Path) -> list[bytes]:
    """Return the contents of every file below a folder, in the order of their names.

    Raises:
        BadRequest: there are none.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    contents = [file.read_bytes() for file in files if file.stat().st_size <= MAX_FILE_BYTES]
    if not contents:
        raise BadRequest("there are no files", expected="files of any kind", got=str(folder))
    return contents


class HostileRequests:
    """Makes requests; those of one seed and number are always the same.

    Args:
        corpus: contents of files.
        fields: of a request that the server answers.
        seed: of the random choices.
    """

    def __init__(self, corpus: Sequence[bytes], fields: Mapping[str, str], seed: int) -> None:
        self._corpus, self._fields, self._seed = corpus, fields, seed

    def make(self, number: int) -> Payload:
        """Return one request."""
        rng = np.random.default_rng([self._seed, number])
        content = self._damaged(self._corpus[int(rng.integers(len(self._corpus)))], rng)
        forms: tuple[Callable[[bytes, np.random.Generator], Payload], ...] = (
            self._raw,
            self._json,
            self._multipart,
        )
        return forms[int(rng.integers(len(forms)))](content, rng)

    def _damaged(self, content: bytes, rng: np.random.Generator) -> bytes:
        """Return the content, or a damaged copy of it."""
        kind = int(rng.integers(8))
        data = bytearray(content)
        place = int(rng.integers(len(data) + 1))
        if kind == 1:
            del data[place:]
        elif kind == 2:
            for spot in rng.integers(max(1, len(data)), size=8).tolist():
                if data:
                    data[spot] = int(rng.integers(256))
        elif kind == 3:
            data[place:place] = rng.bytes(int(rng.integers(200)))
        elif kind == 4:
            del data[place : place + int(rng.integers(1, 500))]
        return bytes(data)  # whole in four of eight cases

    def _some_fields(self, rng: np.random.Generator) -> dict[str, object]:
        """Return the right fields, some of them replaced, and some that do not belong."""
        fields: dict[str, object] = dict(self._fields)
        for _ in range(max(0, int(rng.integers(-1, 3)))):  # none in two of four cases
            fields[_pick(NAMES, rng)] = _pick(VALUES, rng)
        return fields

    def _raw(self, content: bytes, rng: np.random.Generator) -> Payload:
        fields = json.dumps(self._some_fields(rng), ensure_ascii=bool(rng.integers(2)))
        if not rng.integers(4):
            fields = fields[: int(rng.integers(len(fields)))]
        headers = {"Content-Type": _pick(CONTENT_TYPES, rng), "X-Augrank-Fields": fields}
        if not rng.integers(5):
            headers["Content-Encoding"] = _pick(("gzip", "br", "identity", "gzip, gzip"), rng)
            content = gzip.compress(content) if rng.integers(2) else content
        return Payload(content, {name: value for name, value in headers.items() if value})

    def _json(self, content: bytes, rng: np.random.Generator) -> Payload:
        encoded = base64.b64encode(content).decode()
        image: object = _pick((encoded, encoded[:-3], {"b64": encoded}, [encoded], 3, None), rng)
        fields = self._some_fields(rng)
        context = {n: fields.pop(n) for n in ("campaign_type", "industry") if n in fields}
        body: object = {"image": image, **fields, **({"context": context} if context else {})}
        if not rng.integers(8):  # a recommender has to refuse several
            body = {"images": [image] * int(rng.integers(4)), **fields}
        if not rng.integers(4):
            body = {"instances": [body] * int(rng.integers(4))}
        text = json.dumps(body).encode()
        if not rng.integers(4):
            text = self._damaged(text, rng)
        return Payload(text, {"Content-Type": "application/json"})

    def _multipart(self, content: bytes, rng: np.random.Generator) -> Payload:
        parts = [(name, str(value).encode()) for name, value in self._some_fields(rng).items()]
        parts.append((_pick(("image", "data", "body", "file", ""), rng), content))
        rng.shuffle(parts)
        body = b"".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'.encode()
            + (b'; filename="a.png"' if rng.integers(2) else b"")
            + b"\r\n\r\n"
            + value
            + b"\r\n"
            for name, value in parts
        )
        if rng.integers(5):
            body += f"--{BOUNDARY}--\r\n".encode()
        return Payload(body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})


def _pick(options: Sequence[Option], rng: np.random.Generator) -> Option:
    return options[int(rng.integers(len(options)))]
