import io
from datetime import UTC, datetime

import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from augrank.aws.client import Aws, AwsError
from augrank.aws.s3 import S3File, S3Folder, read
from augrank.errors import BadRequest


def test_a_folder_has_one_slash_behind_it_and_a_bucket_alone_has_none():
    assert S3Folder.parse("s3://b/a/c/", "--input") == S3Folder("b", "a/c/")
    assert S3Folder.parse("s3://b", "--input").url == "s3://b/"
    for url in ("images", "s3://", "https://b/a"):
        with pytest.raises(BadRequest, match="--input is not an S3 URL"):
            S3Folder.parse(url, "--input")


def test_a_day_is_a_folder_and_must_be_a_date():
    folder = S3Folder.parse("s3://b/photos", "--input")
    assert folder.partition("2026-11-28").url == "s3://b/photos/dt=2026-11-28/"
    for text in ("2026-11-31", "20261128", "2026-W48-6", "2026-11-28/", ""):
        with pytest.raises(BadRequest, match="--dt is not a day: expected YYYY-MM-DD"):
            folder.partition(text)


def test_files_are_listed_with_what_changes_when_they_do():
    aws, written = Aws("us-east-1"), datetime(2026, 11, 28, tzinfo=UTC)
    item = {"Key": "a/x.jpg", "Size": 3, "ETag": '"5d41"', "LastModified": written}
    with Stubber(aws.client("s3")) as stub:
        stub.add_response("list_objects_v2", {"Contents": [item]})
        assert S3Folder("b", "a/").files(aws) == {"x.jpg": S3File(3, "5d41", written)}


def test_a_missing_file_is_none_by_its_code_and_other_errors_are_raised():
    aws = Aws("us-east-1")
    with Stubber(aws.client("s3")) as stub:
        stub.add_client_error("get_object", "NoSuchKey", "said otherwise")
        assert read(aws, "s3://b/k") is None
        stub.add_client_error("get_object", "NoSuchBucket", "NoSuchKey is not the code here")
        with pytest.raises(AwsError, match="--bucket"):
            read(aws, "s3://b/k")
        stub.add_response("get_object", {"Body": StreamingBody(io.BytesIO(b"ab"), 2)})
        assert read(aws, "s3://b/k") == b"ab"
