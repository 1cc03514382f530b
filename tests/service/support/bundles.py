"""Bundles under other digests: the same graphs and heads, as another export would write them."""

import json
import shutil
from pathlib import Path
from typing import Any

from augrank.bundle.spec import BUNDLE_FILE, SEAL, seal


def another(bundle: Path, folder: Path, version: str, **more: Any) -> Path:
    """Write a bundle that answers as this one does, under another version, with other content."""
    target = folder / f"bundle-{version}"
    shutil.copytree(bundle, target)
    content = json.loads((target / BUNDLE_FILE).read_text())
    content |= {"version": version, **more}
    content[SEAL] = seal(content)
    (target / BUNDLE_FILE).write_text(json.dumps(content))
    return target
