import base64

import pytest

from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.errors import BadRequest
from augrank.images.decode import FOREIGN
from benchmarks.common.requests import image_files, requests_for


def test_every_image_gets_a_target_in_turn_and_a_context(tiny_export, tiny_run):
    bundle = load_bundle(tiny_export.bundle, RecommendSpec)
    images = image_files(tiny_run.images)[:3]
    requests = requests_for(bundle, images)
    targets = [head.target.name for head in bundle.spec.heads]
    assert [request["target"] for request in requests] == (targets * 3)[:3]
    for image, request in zip(images, requests, strict=True):
        assert base64.b64decode(request["image"]) == image.read_bytes() + FOREIGN  # a new one
        assert set(request["context"]) == {column.name for column in bundle.spec.context}
    assert requests_for(bundle, images) == requests  # seeded


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(BadRequest, match="there are no images"):
        image_files(tmp_path)
    (tmp_path / "B.JPG").touch()
    (tmp_path / "a.png").touch()
    assert [file.name for file in image_files(tmp_path)] == ["B.JPG", "a.png"]
