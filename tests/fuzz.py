"""Fuzz the readers of what people bring, with coverage of our own code.

    pip install atheris
    python -m tests.fuzz images|manifests|requests CORPUS -max_total_time=1200

CORPUS is a folder for inputs that reach new code; the files of ``tests/cases`` are tried first.
Other flags are libFuzzer's. Any exception but an AugrankError, and any input that takes longer than
ten seconds, is a find: it ends the run, and its file is named.
"""

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["augrank", "PIL"]):
    from augrank.errors import AugrankError
    from augrank.images.decode import decode
    from augrank.manifest.read import read_table
    from augrank.runtime.wire import read_requests
    from augrank.tasks.recommend.request import parse_request

CASES = Path(__file__).parent / "cases"
TYPES = ("", "image/png", "application/json", "multipart/form-data", "text/plain")
ENCODINGS = ("", "gzip", "deflate", "br")
FLAGS = ("-timeout=10", "-rss_limit_mb=4000", "-max_len=65536")


def images(data: bytes) -> None:
    """Decode an image file."""
    pixels = decode(data, 64).pixels
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == "uint8"


def manifests(data: bytes) -> None:
    """Read a manifest twice; both tables must be equal."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "manifest.csv"
        file.write_bytes(data)
        first, second = read_table(file, {}), read_table(file, {})
    assert first.frame.equals(second.frame)
    assert len(first.lines) == len(first.frame)
    assert all(isinstance(cell, str) for cell in first.frame.to_numpy().ravel())


def requests(data: bytes) -> None:
    """Read a request: its type, its encoding, a header and the body."""
    chosen, _, rest = data.partition(b"\n")
    header, _, body = rest.partition(b"\n")
    kind, encoding = (chosen + b"\0\0")[:2]
    headers = {
        "content-type": TYPES[kind % len(TYPES)],
        "content-encoding": ENCODINGS[encoding % len(ENCODINGS)],
        "x-augrank-fields": header.decode("latin-1"),
    }
    for found in read_requests({"body": body}, headers).bodies:
        parse_request(found)


def main() -> None:
    """Fuzz one of the readers until a find, or the time is over."""
    readers: dict[str, Callable[[bytes], None]] = {
        each.__name__: each for each in (images, manifests, requests)
    }
    if len(sys.argv) < 3 or sys.argv[1] not in readers:
        sys.exit(__doc__)
    name, corpus, *flags = sys.argv[1:]
    reader = readers[name]

    def read(data: bytes) -> None:
        with contextlib.suppress(AugrankError):
            reader(data)

    seeds = [str(CASES / name)] if (CASES / name).is_dir() else []
    Path(corpus).mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], corpus, *seeds, *FLAGS, *flags], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
