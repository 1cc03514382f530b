"""A site on loopback to download from, and what a download left."""

import hashlib
import time
from collections import defaultdict
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

from augrank.download.public_addresses import Guard
from augrank.images.decode import encode
from tests.support.patience import PATIENCE_S
from tests.support.servers import LocalServer
from tests.support.shapes import draw
from training.download.journal import open_journal
from training.download.run import DownloadOptions

OPTIONS = DownloadOptions(per_host=500, tries=3, backoff_s=0.02, timeout_s=PATIENCE_S)
LOOPBACK = Guard(allow_loopback=True)


class Site:
    """A server whose paths are images or functions of the request; it records every request."""

    def __init__(self):
        self.answers = {}
        self.asked = defaultdict(list)  # path -> times
        self.headers = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                site.asked[self.path].append(time.monotonic())
                site.headers.append(self.headers)
                answer = site.answers.get(self.path, b"")
                with suppress(ConnectionError):
                    if callable(answer):
                        answer(self, len(site.asked[self.path]))
                    else:
                        reply(self, 200 if answer else 404, answer)

            def log_message(self, *_):
                pass

        self.server = LocalServer(Handler)
        self.root = self.server.url

    def image(self, path, number=0, file_format="PNG"):
        self.answers[path] = encode(draw(number), file_format)
        return self.root + path

    def answer(self, path, answer):
        self.answers[path] = answer
        return self.root + path

    def count(self, path):
        return len(self.asked[path])


def reply(handler, status, body=b"", **headers):
    handler.send_response(status)
    for name, value in {"Content_Length": len(body), **headers}.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def reasons(done):
    return {row.url.rpartition("/")[2]: row.reason for row in done.left_out}


def file_of(url, suffix=".png"):
    return f"images/{hashlib.sha256(url.encode()).hexdigest()[:16]}{suffix}"


def records(out):
    with open_journal(out / "journal.jsonl") as journal:
        return {url.rpartition("/")[2]: record for url, record in journal.records.items()}
