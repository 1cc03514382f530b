"""What a model said of the images of the test sets, image by image: JSON lines beside its bundle.

The gate compares two of these files; the page shows the pictures behind a cell of the confusion.
Retraining writes one for the live model and for each candidate, on the same frozen test sets.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from augrank.errors import DataError, reason
from augrank.files import atomic_write

TEXTS = ("sha256", "advertiser", "label", "truth", "predicted")
NOBODY = ""  # the advertiser of a test image that belongs to none


@dataclass(frozen=True)
class EvaluatedImage:
    """What a model said of one label of a test image.

    Attributes:
        sha256: of the image file.
        advertiser: whose image it is; ``NOBODY`` if it is of the common set alone.
        label: such as ``colour``.
        truth: the right class.
        predicted: the model's most probable class.
        probability: of ``predicted``, by the model.
    """

    sha256: str
    advertiser: str
    label: str
    truth: str
    predicted: str
    probability: float

    @property
    def correct(self) -> bool:
        """Whether the model was right."""
        return self.truth == self.predicted

    @property
    def key(self) -> tuple[str, str, str]:
        """What the same question of another model has, too."""
        return self.sha256, self.advertiser, self.label


def evaluation_path(folder: Path, digest: str) -> Path:
    """Return where a model's evaluation is.

    Args:
        folder: of the service.
        digest: of the model's bundle.
    """
    return folder / "models" / f"{digest}.evaluation.jsonl"


def keep_evaluation(source: Path, folder: Path, digest: str) -> None:
    """Copy the evaluation of a model to its place, whole or not at all."""
    target = evaluation_path(folder, digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, partial)
    partial.replace(target)


def write_evaluation(path: Path, images: Iterable[EvaluatedImage]) -> None:
    """Write an evaluation, whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for image in images:
            stream.write(json.dumps(asdict(image), ensure_ascii=False) + "\n")


def read_evaluation(path: Path) -> list[EvaluatedImage]:
    """Read an evaluation; an image that is in several test sets counts once.

    Raises:
        DataError: it cannot be read, or contradicts itself.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        images = [_parsed(json.loads(line)) for line in lines if line]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path.name} cannot be read",
            expected="a line of JSON for each image of the test sets",
            got=reason(error),
            remedy="Evaluate the model again.",
        ) from error
    return unique(images)


def unique(images: Sequence[EvaluatedImage]) -> list[EvaluatedImage]:
    """Return images without repetitions, in their order.

    Raises:
        DataError: two lines say different things of one image.
    """
    found: dict[tuple[str, str, str], EvaluatedImage] = {}
    for image in images:
        if (known := found.setdefault(image.key, image)) != image:
            raise DataError(
                f"the evaluation contradicts itself about {image.label} of {image.sha256[:12]}",
                expected=f"{known.predicted}, truth {known.truth}",
                got=f"{image.predicted}, truth {image.truth}",
                remedy="Evaluate the model again.",
            )
    return list(found.values())


def _parsed(content: dict[str, Any]) -> EvaluatedImage:
    texts = {name: content[name] for name in TEXTS}
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError("a name is no text")
    return EvaluatedImage(**texts, probability=float(content["probability"]))
