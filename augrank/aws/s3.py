"""A folder in an S3 bucket: its files and unfinished uploads."""

from dataclasses import dataclass
from datetime import date, datetime

from augrank.aws.client import Aws, AwsError, Call, aws_errors
from augrank.errors import BadRequest


@dataclass(frozen=True)
class S3File:
    """A file of a folder, as S3 lists it."""

    size_bytes: int
    etag: str  # another one for other content
    modified: datetime  # when it was written, in whole seconds


@dataclass(frozen=True)
class S3Folder:
    """``s3://bucket/prefix/``."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str, option: str) -> "S3Folder":
        """Parse a URL.

        Args:
            url: ``s3://BUCKET/FOLDER``.
            option: the option that contained it, for the message.

        Raises:
            BadRequest: it is not an S3 URL.
        """
        scheme, _, rest = url.partition("://")
        bucket, _, folder = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise BadRequest(f"{option} is not an S3 URL", expected="s3://BUCKET/FOLDER", got=url)
        return cls(bucket, f"{folder.strip('/')}/" if folder.strip("/") else "")

    @property
    def url(self) -> str:
        """``s3://bucket/prefix/``."""
        return f"s3://{self.bucket}/{self.prefix}"

    def partition(self, dt: str) -> "S3Folder":
        """Return the folder of a day in this one: ``dt=2026-11-28/``.

        Raises:
            BadRequest: it is not a day.
        """
        try:
            is_day = date.fromisoformat(dt).isoformat() == dt
        except ValueError:
            is_day = False
        if not is_day:
            raise BadRequest("--dt is not a day", expected="YYYY-MM-DD", got=repr(dt)[:40])
        return S3Folder(self.bucket, f"{self.prefix}dt={dt}/")

    def keys(self, aws: Aws) -> list[str]:
        """List the files, relative to the folder."""
        return list(self.files(aws))

    def files(self, aws: Aws) -> dict[str, S3File]:
        """List the files by their keys relative to the folder, sorted by key."""
        pages = aws.paginate("s3", "list_objects_v2", Bucket=self.bucket, Prefix=self.prefix)
        return {
            item["Key"].removeprefix(self.prefix): S3File(
                item["Size"], item["ETag"].strip('"'), item["LastModified"]
            )
            for page in pages
            for item in page.get("Contents", [])
        }

    def read(self, aws: Aws, key: str) -> bytes | None:
        """Read a file; return None if it does not exist."""
        return read(aws, self.url + key)

    def write(self, aws: Aws, key: str, content: bytes) -> str:
        """Write a file and return its URL."""
        aws.send(Call("s3", "put_object", {**self.location(key), "Body": content}))
        return self.url + key

    def delete(self, aws: Aws, key: str) -> None:
        """Delete a file, if it exists."""
        aws.send(Call("s3", "delete_object", self.location(key)))

    def delete_all(self, aws: Aws) -> list[str]:
        """Delete all files and abort unfinished uploads; return a list of both for display."""
        deleted = self.abort_uploads(aws)
        for key in self.keys(aws):
            self.delete(aws, key)
            deleted.append(self.url + key)
        return deleted

    def abort_uploads(self, aws: Aws) -> list[str]:
        """Abort unfinished multipart uploads; return their names for display.

        Their parts do not appear in listings of the bucket, and are billed until the upload is
        aborted.
        """
        pages = aws.paginate("s3", "list_multipart_uploads", Bucket=self.bucket, Prefix=self.prefix)
        aborted = []
        for upload in (upload for page in pages for upload in page.get("Uploads", [])):
            location = {
                "Bucket": self.bucket,
                "Key": upload["Key"],
                "UploadId": upload["UploadId"],
            }
            aws.send(Call("s3", "abort_multipart_upload", location))
            aborted.append(f"the unfinished upload of s3://{self.bucket}/{upload['Key']}")
        return aborted

    def location(self, key: str) -> dict[str, str]:
        """Bucket and key of a file, as parameters of a request."""
        return {"Bucket": self.bucket, "Key": self.prefix + key}


def read(aws: Aws, url: str) -> bytes | None:
    """Read ``s3://bucket/key``; return None if it does not exist."""
    _, _, bucket, key = url.split("/", 3)
    try:
        response = aws.send(Call("s3", "get_object", {"Bucket": bucket, "Key": key}))
    except AwsError as error:
        if error.aws_code == "NoSuchKey":
            return None
        raise
    with aws_errors():  # the connection may break while the body is read
        content: bytes = response["Body"].read()
    return content
