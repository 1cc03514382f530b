"""Time the reading of a manifest, and its memory: all that training does with it before images.

python -m training simulate --manifest examples/catalogue/manifest.csv --sends 761 --out h.csv
python -m benchmarks.scale.manifest h.csv examples/catalogue
"""

import json
import sys
import time
from pathlib import Path

from augrank.images.augmentations import augmentation_set
from augrank.manifest.read import read_table
from training.data.manifest.context import context_columns, encode_context
from training.data.manifest.manifest import attribute_columns, check_manifest
from training.data.manifest.rows import fingerprint
from training.data.manifest.targets import TargetOutcomes, find_targets


def main(source: Path, images: Path) -> None:
    """Read a manifest, and print rows, outcomes, seconds and this process's peak memory as JSON."""
    start = time.perf_counter()
    manifest = check_manifest(read_table(source, {}), images, augmentation_set("seed").names)
    frame = manifest.frame
    encode_context(frame, context_columns(frame, manifest.context, manifest.numeric))
    outcomes = sum(len(each.row) for each in TargetOutcomes(frame, find_targets(frame), {}))
    attribute_columns(manifest)
    fingerprint(manifest, [])
    seconds = time.perf_counter() - start
    print(json.dumps({"rows": len(frame), "outcomes": outcomes, "s": seconds, "gb": _peak_gb()}))


def _peak_gb() -> float:
    """Return the peak memory of this program; getrusage has that of its parent, too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
