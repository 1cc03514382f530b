"""Versions of a picture in full size are what the model scored, of the file itself."""

import io
import threading

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from augrank.images.augmentations import Augmentation, Step, augmentation_set
from augrank.images.decode import DecodeLimits, decode
from service.images.versions import PREVIEW_PX, Previews, full_size, version_of
from tests.service.support.marketing import Marketer, picture
from tests.service.support.pages import sha256

LIMITS = DecodeLimits()
SEED = augmentation_set("seed")


def wide(width: int = 300, height: int = 180) -> np.ndarray:
    """Return a picture of a smooth random pattern, no part of which is white."""
    rng = np.random.default_rng(3)
    small = rng.integers(0, 200, (6, 10, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 220)


def png(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def made(data: bytes, augmentation: Augmentation, sides: tuple[int, int]) -> np.ndarray:
    return pixels_of(full_size(data, augmentation, sides, LIMITS).data)


@pytest.mark.parametrize("name", SEED.names)
def test_of_a_square_picture_it_is_what_the_model_sees(name):
    square = wide(160, 160)
    expected = SEED[name].apply(decode(png(square), 160).pixels)
    found = made(png(square), SEED[name], (160, 160))
    if name == "swivel":  # is narrower: the white sides are cut off
        assert found.shape[0] == 160
        assert 120 < found.shape[1] < 160
        left = (expected == 255).all(axis=(0, 2)).argmin()
        assert (expected[:, left : left + found.shape[1]] == found).mean() > 0.99
    else:
        assert (found == expected).all()


def test_of_a_wide_picture_the_border_is_cut_off():
    image = wide()
    data, sides = png(image), (300, 180)
    assert (made(data, SEED["original"], sides) == image).all()
    assert (made(data, SEED["rotate"], sides) == np.rot90(image)).all()
    brighter = np.clip(image * 1.5 + 0.5, 0, 255).astype(np.uint8)
    assert (made(data, SEED["brighter"], sides) == brighter).all()
    assert made(data, SEED["sketch"], sides).shape == (180, 300, 3)
    swivelled = made(data, SEED["swivel"], sides)
    assert swivelled.shape[0] > 180  # nearer is larger
    assert swivelled.shape[1] < 300


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("HorizontalFlip", lambda image: image[:, ::-1]),
        ("VerticalFlip", lambda image: image[::-1]),
        ("Transpose", lambda image: image.transpose(1, 0, 2)),
    ],
)
@pytest.mark.parametrize("height", [180, 181])
def test_flips_move_the_picture_and_not_the_cut(op, expected, height):
    image = wide(300, height)
    flipped = Augmentation(name="x", steps=(Step(op=op),))
    assert (made(png(image), flipped, (300, height)) == expected(image)).all()


def test_what_may_move_the_picture_anywhere_keeps_the_whole_square():
    turned = Step(op="Affine", params={"rotate": [30.0, 30.0], "fill": 255})
    assert made(png(wide()), Augmentation(name="x", steps=(turned,)), (300, 180)).shape == (
        300, 300, 3,
    )  # fmt: skip


def test_every_sample_of_the_email_set_can_be_made():
    for augmentation in augmentation_set("email", 3).augmentations:
        found = version_of(decode(png(wide()), 300), augmentation)
        assert min(found.shape[:2]) >= 180


def test_a_jpeg_stays_one_upright_and_with_its_colours():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(wide()).save(buffer, "JPEG", quality=95, icc_profile=profile, exif=exif)
    file = full_size(buffer.getvalue(), SEED["darker"], (180, 300), LIMITS)
    image = Image.open(io.BytesIO(file.data))
    assert (image.format, image.size, file.suffix) == ("JPEG", (180, 300), ".jpg")
    assert image.info["icc_profile"] == profile
    assert 0x0112 not in image.getexif()
    halved = np.rot90(wide(), -1) * 0.5
    assert np.abs(np.asarray(image).astype(float) - halved).mean() < 3


def test_a_profile_of_inks_is_not_given_to_a_picture_of_light():
    inks = b"\0" * 12 + b"prtrCMYK" + b"\0" * 108
    data = png(wide(), icc_profile=inks)
    image = Image.open(io.BytesIO(full_size(data, SEED["darker"], (300, 180), LIMITS).data))
    assert "icc_profile" not in image.info


def test_previews_decode_a_file_once():
    reads, data = [], png(wide())

    def read() -> bytes:
        reads.append(1)
        return data

    previews = Previews(LIMITS)
    for each in SEED.augmentations:
        preview = previews.get("a", each, SEED.augmentations, read)
        assert preview is not None
        assert max(pixels_of(preview).shape) <= PREVIEW_PX
    assert len(reads) == 1
    assert previews.get("b", SEED["darker"], SEED.augmentations, lambda: None) is None


def test_previews_that_are_wanted_at_once_are_made_once():
    reads, data, found = [], png(wide()), []

    def look(number: int) -> None:
        each = SEED.augmentations[number % len(SEED.names)]
        found.append(previews.get("a", each, SEED.augmentations, lambda: reads.append(1) or data))

    previews = Previews(LIMITS)
    threads = [threading.Thread(target=look, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1
    assert len(set(found)) == len(SEED.names)


def test_little_memory_keeps_the_last_previews():
    previews, data = Previews(LIMITS, size_bytes=30_000), png(wide())
    for number in range(20):
        assert previews.get(str(number), SEED["original"], (), lambda: data)
    assert previews._kept.currsize <= 30_000


# --- over HTTP ---------------------------------------------------------------------------------


def url_of(answer: dict, name: str = "rotate") -> str:
    return f"/v1/versions/{answer['sha256']}/{name}"


def test_the_winning_picture_is_downloaded_in_full_size(marketer: Marketer):
    image = picture(0, side=200)
    answer = marketer.ask(image)
    query = {"advertiser": "ada", "full": "true"}
    turned = marketer.http.get(url_of(answer), params=query)
    assert turned.headers["content-type"] == "image/png"
    name = f"rotate-{answer['sha256'][:8]}.png"
    assert turned.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert (pixels_of(turned.content) == np.rot90(pixels_of(image))).all()
    original = marketer.http.get(url_of(answer, "original"), params=query)
    assert original.content == image
    small = marketer.http.get(url_of(answer), params={"advertiser": "ada"})
    assert small.headers["content-type"] == "image/jpeg"


def test_a_url_that_names_the_parameters_is_kept_by_browsers(marketer, recommend_backend):
    answer = marketer.ask(picture(1))
    digest = recommend_backend.augmentations["rotate"].hash[:12]
    kept = marketer.http.get(url_of(answer), params={"advertiser": "ada", "hash": digest})
    assert "immutable" in kept.headers["cache-control"]
    other = marketer.http.get(url_of(answer), params={"advertiser": "ada", "hash": "0" * 12})
    assert (other.status_code, other.json()["error"]["code"]) == (410, "answer_expired")
    assert "Ask again" in other.json()["error"]["message"]


def test_versions_are_for_those_who_sent_the_image(marketer: Marketer):
    image = picture(2)
    answer = marketer.ask(image)
    assert answer["sha256"] == sha256(image)
    for advertiser, name, status in (("bob", "rotate", 404), ("ada", "blue", 404)):
        found = marketer.http.get(url_of(answer, name), params={"advertiser": advertiser})
        assert found.status_code == status
    marketer.http.app.state.parts.images.path(answer["sha256"]).unlink()
    for full in ("true", "false"):
        query = {"advertiser": "ada", "full": full}
        gone = marketer.http.get(url_of(answer), params=query)
        assert (gone.status_code, gone.json()["error"]["code"]) == (410, "image_expired")
