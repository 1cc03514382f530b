"""A model server in this process: real handlers, behind HTTP as TorchServe speaks it.

It answers ``/predictions/MODEL`` and ``/predictions/MODEL/VERSION``. What the tests of the real
TorchServe do not reach, such as a full queue, is made to happen here, in TorchServe's words.
"""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from augrank.bundle.spec import BUNDLE_FILE, SEAL, seal
from augrank.runtime.worker import Worker
from tests.support.pools import own_threads
from tests.support.servers import LocalServer, serving
from tests.support.worker import make_context

KINDS = {
    400: "InvalidKeyException",
    404: "ModelNotFoundException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
    507: "OutOfMemoryException",
}


@dataclass
class Model:
    """A loaded handler, that answers one request at a time."""

    handler: Worker
    folder: Path
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        context = make_context(self.folder, [headers])
        with self.lock:
            (text,) = self.handler.handle([{"body": body}], context)
        try:
            status = int(context.get_response_status(0)[0])
        except (TypeError, KeyError, AttributeError):  # none was set
            status = 200
        return status, text.encode()


@contextmanager
def loaded(kind: type[Worker], bundle: Path, folder: Path) -> Iterator[Model]:
    """Load a bundle into a handler, as a worker of TorchServe does."""
    (folder / "bundle").symlink_to(bundle)
    handler = kind()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUGRANK_DEVICE", "cpu")
        patch.setenv("AUGRANK_PRECISION", "fp32")
        patch.setenv("TS_DECODE_INPUT_REQUEST", "false")  # set by it
        handler.initialize(make_context(folder, []))
    pools = getattr(handler.task, "embedder", None) or handler.task.stages
    with own_threads(pools):
        yield Model(handler, folder)


@dataclass
class Server:
    """A model server whose faults a test chooses.

    Attributes:
        http: where it listens.
        models: by version; "" is the default one.
        faults: statuses of the next answers, in TorchServe's own words.
        cut: number of next requests whose connection is closed without an answer.
        poison: an image at which it fails each time.
        seen: paths that were asked.
    """

    models: dict[str, Model]
    http: LocalServer | None = None
    faults: list[int] = field(default_factory=list)
    cut: int = 0
    poison: bytes | None = None
    seen: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        assert self.http is not None
        return self.http.url


@contextmanager
def model_server(**models: Model) -> Iterator[Server]:
    """Serve models by version, the one named ``default`` also without any."""
    server = Server({"" if name == "default" else name: each for name, each in models.items()})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.seen.append(self.path)
            if server.cut:
                server.cut -= 1
                self.close_connection = True
                return
            version = [*self.path.split("/"), ""][3]
            if body == server.poison:
                self._fault(500)
            elif server.faults:
                self._fault(server.faults.pop(0))
            elif version not in server.models:
                self._fault(404)
            else:
                self._send(*server.models[version].answer(body, dict(self.headers.items())))

        def _fault(self, status: int) -> None:
            said = {"code": status, "type": KINDS.get(status, ""), "message": f"fault {status}"}
            self._send(status, b"" if status == 413 else json.dumps(said).encode())

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as http:
        server.http = http
        yield server


def another_version(bundle: Path, target: Path, version: str) -> Path:
    """Copy a bundle under another version: another digest, and the same answers."""
    shutil.copytree(bundle, target)
    file = target / BUNDLE_FILE
    content = json.loads(file.read_text(encoding="utf-8"))
    content.pop(SEAL)
    content["version"] = version
    file.write_text(json.dumps({**content, SEAL: seal(content)}), encoding="utf-8")
    return target
