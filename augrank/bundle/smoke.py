"""The smoke request of a bundle: a held-out image, and the answer that the parity gate saw."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augrank.bundle.spec import SMOKE_FILE
from augrank.errors import BundleError

# Of a probability: of the graph and device that were recorded, on any processor; and of others.
TOLERANCE, OTHER_TOLERANCE = 0.02, 0.05


@dataclass(frozen=True)
class SmokeRequest:
    """A request whose answer is known."""

    content: Mapping[str, Any]  # the request, as JSON
    probabilities: Mapping[str, float]  # by candidate
    best_candidate: str | None  # None if it is a near-tie

    @classmethod
    def load(cls, bundle: Path) -> "SmokeRequest":
        """Load it from a bundle's directory.

        Raises:
            BundleError: it cannot be read.
        """
        try:
            content = json.loads((bundle / SMOKE_FILE).read_text(encoding="utf-8"))
            return cls(content["request"], content["probabilities"], content["best_candidate"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(
                f"{SMOKE_FILE} cannot be read: {error}", remedy="Export the run again."
            ) from error

    @property
    def body(self) -> bytes:
        """The request as a JSON body."""
        return json.dumps(dict(self.content)).encode()

    @property
    def image(self) -> bytes:
        """The image file."""
        return base64.b64decode(self.content["image"])

    def difference(self, probabilities: Mapping[str, float]) -> float:
        """Return the largest difference of an answer's probabilities; infinite if some are missing.

        Args:
            probabilities: by candidate.
        """
        if set(probabilities) != set(self.probabilities):
            return float("inf")
        return max(abs(probabilities[name] - p) for name, p in self.probabilities.items())
