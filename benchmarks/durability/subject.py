"""What people ask about and correct: a label of the service's model, and a few pictures."""

from dataclasses import dataclass

import cv2

from augrank.bundle.classify_spec import ClassifySpec
from augrank.errors import BadRequest
from augrank.images.decode import decode
from benchmarks.service.pictures import new_pictures

PICTURES, SIDE, JPEG_QUALITY = 5, 160, 85


@dataclass(frozen=True)
class Subject:
    """A label, and pictures that all advertisers have.

    Attributes:
        label: name of the label.
        classes: values that people correct it to.
        pictures: two image files of each picture, as PNG and as JPEG; a fix is of both.
    """

    label: str
    classes: tuple[str, ...]
    pictures: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, spec: ClassifySpec, seed: int) -> "Subject":
        """Take the first label of a classifier, and draw pictures.

        Args:
            spec: the classifier's.
            seed: other seeds give other pictures.

        Raises:
            BadRequest: the classifier has no label, which alone can be corrected.
        """
        if not spec.heads:
            raise BadRequest(
                "nothing can be corrected",
                expected="a classifier with a label",
                got=f"the ranks {', '.join(spec.ranks)}",
                remedy="Give the bundle of another classifier.",
            )
        head = spec.heads[0]
        drawn = new_pictures(PICTURES, seed, SIDE)
        return cls(head.label, tuple(head.classes), tuple(map(_encoded_twice, drawn)))


def _encoded_twice(image: bytes) -> tuple[bytes, bytes]:
    pixels = decode(image, SIDE).pixels[: SIDE * 2 // 3, :, ::-1]
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    png, jpeg = cv2.imencode(".png", pixels)[1], cv2.imencode(".jpg", pixels, options)[1]
    return png.tobytes(), jpeg.tobytes()
