"""A folder of a bucket: what is in it, single files, uploads that were never finished."""

from dataclasses import dataclass

from augrank.aws.client import Aws, AwsError, Call, friendly
from augrank.errors import BadRequest


@dataclass(frozen=True)
class S3Folder:
    """``s3://bucket/prefix/``."""

    bucket: str
    prefix: str

    @classmethod
    def of(cls, url: str, option: str) -> "S3Folder":
        """Read a URL.

        Raises:
            BadRequest: it is none.
        """
        scheme, _, rest = url.partition("://")
        bucket, _, folder = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise BadRequest(f"{option} does not fit", expected="s3://BUCKET/FOLDER", got=url)
        return cls(bucket, f"{folder.strip('/')}/" if folder.strip("/") else "")

    @property
    def url(self) -> str:
        """``s3://bucket/prefix/``."""
        return f"s3://{self.bucket}/{self.prefix}"

    def keys(self, aws: Aws) -> list[str]:
        """What is in it, relative to it."""
        return list(self.sizes(aws))

    def sizes(self, aws: Aws) -> dict[str, int]:
        """The same, with bytes."""
        pages = aws.pages("s3", "list_objects_v2", Bucket=self.bucket, Prefix=self.prefix)
        return {
            item["Key"].removeprefix(self.prefix): item["Size"]
            for page in pages
            for item in page.get("Contents", [])
        }

    def read(self, aws: Aws, key: str) -> bytes | None:
        """A file's content; None where it is not there."""
        return read(aws, self.url + key)

    def write(self, aws: Aws, key: str, content: bytes) -> str:
        """Write a file; its URL."""
        aws.send(Call("s3", "put_object", {**self._at(key), "Body": content}))
        return self.url + key

    def remove(self, aws: Aws, key: str) -> None:
        """Delete a file, if it is there."""
        aws.send(Call("s3", "delete_object", self._at(key)))

    def empty(self, aws: Aws) -> list[str]:
        """Delete all that is in it, and abort what is being uploaded; what went, in words."""
        removed = self.abort_uploads(aws)
        for key in self.keys(aws):
            self.remove(aws, key)
            removed.append(self.url + key)
        return removed

    def abort_uploads(self, aws: Aws) -> list[str]:
        """Give up uploads in parts that nobody will finish; what went, in words.

        Their parts are in no listing of the bucket, and cost until they are aborted.
        """
        pages = aws.pages("s3", "list_multipart_uploads", Bucket=self.bucket, Prefix=self.prefix)
        aborted = []
        for upload in (upload for page in pages for upload in page.get("Uploads", [])):
            place = {"Bucket": self.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            aws.send(Call("s3", "abort_multipart_upload", place))
            aborted.append(f"the unfinished upload of s3://{self.bucket}/{upload['Key']}")
        return aborted

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + key}


def read(aws: Aws, url: str) -> bytes | None:
    """The content of ``s3://bucket/key``; None where it is not there."""
    _, _, bucket, key = url.split("/", 3)
    try:
        found = aws.send(Call("s3", "get_object", {"Bucket": bucket, "Key": key}))
    except AwsError as error:
        if "NoSuchKey" in error.problem:
            return None
        raise
    with friendly():  # the connection may break in the middle of it
        content: bytes = found["Body"].read()
    return content
