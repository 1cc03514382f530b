"""A catalogue of six images; what is read and decoded of it."""

import hashlib
from pathlib import Path

import pytest

from augrank.images.decode import decode
from training.data.image_cache import sources as images


@pytest.fixture
def folder(catalogue) -> Path:
    return catalogue(6).parent


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Record the digest of every file that is decoded, in order."""
    seen: list[str] = []

    def noted(data: bytes, size: int):
        seen.append(hashlib.sha256(data).hexdigest())
        return decode(data, size)

    monkeypatch.setattr(images, "decode", noted)
    return seen


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Record the name of every file that is read."""
    seen: list[str] = []
    read = images._Sources.read

    def noted(sources, number: int):
        seen.append(Path(sources._names[number]).name)
        return read(sources, number)

    monkeypatch.setattr(images._Sources, "read", noted)
    return seen
