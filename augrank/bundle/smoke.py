"""The smoke request of a bundle: a held-out image, and the answers that the parity gate saw.

Its probabilities alone would not tell everything: a head whose trees do not ask for the image's
features answers alike whatever they are. So the image's features are recorded too.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augrank.arrays import Float32Array
from augrank.bundle.spec import SMOKE_FILE, BundleSpec
from augrank.contracts.run import Precision
from augrank.errors import BundleError
from augrank.models.engines import Device

# Largest difference of a probability, and of the features relative to their length: of the graph
# and device that were recorded, on any processor; and of others.
TOLERANCE, OTHER_TOLERANCE = 0.02, 0.05
FEATURES_TOLERANCE, OTHER_FEATURES_TOLERANCE = 0.1, 0.3
FEATURE_DIGITS = 4  # significant


@dataclass(frozen=True)
class SmokeAnswer:
    """What one graph answers to the smoke request.

    Attributes:
        device: on which it answered.
        probabilities: by candidate.
        best_candidate: None if it is a near-tie.
        features: (F,), of the image without augmentation.
    """

    device: Device
    probabilities: Mapping[str, float]
    best_candidate: str | None
    features: Float32Array

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> "SmokeAnswer":
        """Read what ``as_json`` returns."""
        return cls(
            content["device"],
            content["probabilities"],
            content["best_candidate"],
            np.asarray(content["features"], np.float32),
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain data; features are rounded."""
        return {
            "device": self.device,
            "probabilities": dict(self.probabilities),
            "best_candidate": self.best_candidate,
            "features": [float(f"{value:.{FEATURE_DIGITS}g}") for value in self.features],
        }

    def difference(self, probabilities: Mapping[str, float]) -> float:
        """Return the largest difference of an answer's probabilities; infinite if some are missing.

        Args:
            probabilities: by candidate.
        """
        if set(probabilities) != set(self.probabilities):
            return float("inf")
        return max(abs(probabilities[name] - p) for name, p in self.probabilities.items())

    def resembles(self, features: Float32Array, device: Device) -> bool:
        """Return whether features (F,) are near enough the recorded ones for this device."""
        bound = FEATURES_TOLERANCE if device == self.device else OTHER_FEATURES_TOLERANCE
        return self.features_difference(features) <= bound

    def features_difference(self, features: Float32Array) -> float:
        """Return the distance of features (F,), relative to the length of the recorded ones."""
        if features.shape != self.features.shape:
            return float("inf")
        length = max(float(np.linalg.norm(self.features)), 1e-12)
        return float(np.linalg.norm(features - self.features)) / length


@dataclass(frozen=True)
class SmokeRequest:
    """A request whose answers are known."""

    content: Mapping[str, Any]  # the request, as JSON
    answers: Mapping[Precision, SmokeAnswer]  # by graph, which has its own heads

    @classmethod
    def load(cls, bundle: Path) -> "SmokeRequest":
        """Load it from a bundle's directory.

        Raises:
            BundleError: it cannot be read.
        """
        try:
            content = json.loads((bundle / SMOKE_FILE).read_text(encoding="utf-8"))
            answers = {
                precision: SmokeAnswer.of_json(answer)
                for precision, answer in content["answers"].items()
            }
            return cls(content["request"], answers)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(
                f"{SMOKE_FILE} cannot be read", got=repr(error), remedy="Export the run again."
            ) from error

    def save(self, bundle: Path) -> None:
        """Write it to a bundle's directory."""
        content = {
            "request": self.content,
            "answers": {name: answer.as_json() for name, answer in self.answers.items()},
        }
        (bundle / SMOKE_FILE).write_text(json.dumps(content), encoding="utf-8")

    @property
    def body(self) -> bytes:
        """The request as a JSON body."""
        return json.dumps(dict(self.content)).encode()

    @property
    def image(self) -> bytes:
        """The image file."""
        return base64.b64decode(self.content["image"])


def differs(spec: BundleSpec, *, expected: str, got: str) -> BundleError:
    """Return the error of a bundle whose smoke request has another answer."""
    made_with = ", ".join(f"{name}=={version}" for name, version in spec.library_versions.items())
    return BundleError(
        "the bundle does not answer its smoke request as it did at export",
        expected=expected,
        got=got,
        remedy=f"Install what it was made with ({made_with}, and augrank as it was), or train and "
        "export again: another version may decode images otherwise.",
    )
