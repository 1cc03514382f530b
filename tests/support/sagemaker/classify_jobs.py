"""What transform jobs of a classifier need: an export with an archive, and a container."""

import json
from collections.abc import Mapping
from pathlib import Path

import boto3

from augrank.tasks.classify.pipeline import Classifier
from export.sagemaker.local_transform import answer_texts
from tests.support.sagemaker.region import Container


def dist_with_archive(bundle: Path, folder: Path) -> Path:
    """Return an export's directory whose archive is only uploaded, never unpacked."""
    folder.mkdir()
    (folder / "bundle").symlink_to(bundle, target_is_directory=True)
    (folder / "model.tar.gz").write_bytes(b"an archive")
    return folder


def container_of(classifier: Classifier) -> Container:
    """Return a container that answers as a worker does, with its model's environment."""

    def answer(model: str, body: bytes, _headers: Mapping[str, str]) -> tuple[int, bytes]:
        made = boto3.client("sagemaker").describe_model(ModelName=model)
        environment = made["PrimaryContainer"]["Environment"]
        assert environment["AUGRANK_ERRORS_AS_200"] == "1"
        (text,) = answer_texts(classifier, [body], json.loads(environment["AUGRANK_FIELDS"]))
        return 200, text.encode()

    return answer
