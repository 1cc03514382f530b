"""Answers requests with the handler of an unpacked archive, as a model server would.

Run it as a script in a separate process, with the archive's folder on PYTHONPATH, so that only the
code in the archive answers, and none of the clone:

    PYTHONPATH=FOLDER python -P export/parity/probe.py FOLDER REQUESTS.json ANSWERS.json

REQUESTS.json: a list of batches, each a list of ``{"image": file, "fields": {...}}``.
ANSWERS.json: a list of batches, each a list of ``{"status": 200, "body": {...}}``.
"""

import importlib
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any


class ProbeContext:
    """The part of TorchServe's context that the handler uses."""

    def __init__(self, folder: Path, fields: list[dict[str, str]] | None = None) -> None:
        self.fields = fields or []
        self.system_properties = {"model_dir": str(folder), "gpu_id": None}
        self.model_yaml_config: dict[str, Any] = {}
        self.statuses: dict[int, int] = defaultdict(lambda: 200)
        self.metrics = self

    def add_time(self, name: str, value: float, idx: int | None = None) -> None:
        """Discard the metric."""

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        """Return the headers of a raw image with its fields in a header."""
        fields = json.dumps(self.fields[idx])
        return {"Content-Type": "application/octet-stream", "X-Augrank-Fields": fields}

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Ignore the content type: answers are JSON."""

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Record a request's status."""
        self.statuses[idx] = code


def load_handler(folder: Path) -> Any:
    """Import the one handler class of the file that the archive's manifest names.

    TorchServe finds it in the same way.
    """
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text(encoding="utf-8"))
    module = importlib.import_module(Path(manifest["model"]["handler"]).stem)
    (handler,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == module.__name__
    )
    return handler()


def main(folder: Path, requests_file: Path, answers_file: Path) -> None:
    """Load the handler from the folder and answer every batch."""
    handler = load_handler(folder)
    runtime = Path(sys.modules["augrank"].__file__ or "").resolve()
    if folder.resolve() not in runtime.parents:
        sys.exit(f"expected augrank from {folder}, got {runtime}")
    handler.initialize(ProbeContext(folder))
    answers = []
    for batch in json.loads(requests_file.read_text(encoding="utf-8")):
        context = ProbeContext(folder, [item["fields"] for item in batch])
        data = [{"body": Path(item["image"]).read_bytes()} for item in batch]
        bodies = handler.handle(data, context)
        answers.append(
            [{"status": context.statuses[i], "body": json.loads(b)} for i, b in enumerate(bodies)]
        )
    answers_file.write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
