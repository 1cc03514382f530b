"""Packs a served folder as a TorchServe ``.mar``, the same bytes for the same contents."""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from augrank.errors import DataError
from augrank.layout import CONFIG, HANDLER, lay_out, manifest_text

EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's zero
MANIFEST = "MAR-INF/MANIFEST.json"


def pack_mar(bundle: Path, name: str, file: Path) -> None:
    """Pack a bundle with its handler and runtime.

    torch-model-archiver makes the archive; it stamps the time of packing into it and keeps the
    order of the file system, so the archive is then written again: sorted names, fixed times, the
    manifest without its stamp.

    Args:
        bundle: the bundle directory.
        name: the model's name in URLs.
        file: the ``.mar`` to write; written whole, then renamed.
    """
    with tempfile.TemporaryDirectory(prefix="augrank-mar-") as scratch:
        folder = Path(scratch) / "served"
        lay_out(bundle, folder, name)
        archive = _run_archiver(folder, name, Path(scratch))
        partial = file.with_suffix(".partial")
        _rewrite(archive, partial, {MANIFEST: manifest_text(name).encode()})
        partial.replace(file)


def _run_archiver(folder: Path, name: str, scratch: Path) -> Path:
    """Run torch-model-archiver on a served folder, in a temporary folder of its own.

    It packs from ``TMPDIR/<name>`` and removes whatever is there before, so TMPDIR is ours.
    """
    extra, temporary, out = scratch / "extra", scratch / "tmp", scratch / "out"
    for directory in (extra, temporary, out):
        directory.mkdir()
    for part in ("augrank", "bundle"):
        (folder / part).rename(extra / part)
    command = [sys.executable, "-m", "model_archiver.model_packaging"]
    command += ["--model-name", name, "--version", "1.0", "--handler", str(folder / HANDLER)]
    command += ["--extra-files", str(extra), "--config-file", str(folder / CONFIG)]
    command += ["--export-path", str(out)]
    done = subprocess.run(
        command,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    archive = out / f"{name}.mar"
    if done.returncode or not archive.is_file():
        raise DataError(f"torch-model-archiver failed: {done.stderr.strip()[-500:]}")
    return archive


def _rewrite(source: Path, target: Path, replaced: dict[str, bytes]) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in sorted(n for n in old.namelist() if not n.endswith("/")):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            new.writestr(entry, replaced.get(name, old.read(name)))
