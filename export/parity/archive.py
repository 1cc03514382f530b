"""Run the code of a finished archive in a separate process."""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from augrank.contracts.run import Precision
from augrank.errors import DataError
from augrank.models.engines import Device
from augrank.runtime.settings import DEVICE, PRECISION

BATCH = 8  # requests in one call of the handler


def ask_archive(
    archive: Path, requests: list[dict[str, Any]], device: Device, precision: Precision | None
) -> list[dict[str, Any]]:
    """Answer requests with the handler in an archive.

    Args:
        archive: a ``.mar``.
        requests: ``{"image": file, "fields": {...}}`` each.
        device: device for the handler.
        precision: precision of the graph; None leaves the choice to the bundle.

    Returns:
        ``{"status": 200, "body": {...}}`` for each request.

    Raises:
        DataError: the handler failed.
    """
    with tempfile.TemporaryDirectory(prefix="augrank-parity-") as scratch:
        names = ("model", "requests.json", "answers.json")
        folder, requests_file, answers_file = (Path(scratch) / name for name in names)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        batches = [requests[start : start + BATCH] for start in range(0, len(requests), BATCH)]
        requests_file.write_text(json.dumps(batches), encoding="utf-8")
        probe = Path(__file__).with_name("probe.py")
        words = (sys.executable, "-P", probe, folder, requests_file, answers_file)
        environment = {"PYTHONPATH": str(folder), PRECISION: precision or "", DEVICE: device}
        done = subprocess.run(
            [str(word) for word in words],
            env={**os.environ, **environment},
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DataError(f"the archive's handler failed: {done.stderr.strip()[-1500:]}")
        return [answer for batch in json.loads(answers_file.read_text()) for answer in batch]
