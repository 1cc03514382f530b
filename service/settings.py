"""Settings of the service: options of its command, or environment variables AUGRANK_SERVICE_*."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from augrank.contracts.validation import first_fault
from augrank.errors import DataError
from augrank.images.decode import DecodeLimits

DEFAULT_FOLDER = Path("build/service")


class ServiceSettings(BaseSettings):
    """All settings; each is AUGRANK_SERVICE_ and its name as an environment variable."""

    model_config = SettingsConfigDict(env_prefix="AUGRANK_SERVICE_", frozen=True, extra="forbid")

    database: str = Field("", description="URL of the database; by default a file of FOLDER.")
    folder: Path = Field(DEFAULT_FOLDER, description="Folder for the database and images.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8090, ge=0, le=65535, description="Port; 0 takes a free one.")
    catalogue: Path | None = Field(
        None, description="Folder of the catalogue's images, as in training."
    )
    max_models: int = Field(
        12, ge=2, description="Bundles that are kept; the oldest go, but none that may be needed."
    )
    backend: str = Field(
        "", description="http://... (TorchServe) or sagemaker:ENDPOINT; by default this process."
    )
    backend_management: str = Field(
        "", description="Address of TorchServe's management API, to promote models there."
    )
    backend_keys: Path | None = Field(None, description="TorchServe's key_file.json.")
    backend_folder: Path | None = Field(
        None, description="Folder that TorchServe reads archives from, on another machine."
    )
    backend_connections: int = Field(
        8, ge=1, le=256, description="Requests at once to the server of a model."
    )
    max_answers: int = Field(
        1_000_000,
        ge=1,
        description="Answers that are kept; of those who have most the least recently used go.",
    )
    max_urls: int = Field(
        1_000_000,
        ge=1,
        description="URLs of batches whose image is remembered; of those who have most the ones "
        "not seen for longest go.",
    )
    forget_after_days: float = Field(
        30,
        gt=0,
        description="Days after the last new file and first answer of a picture until it goes, if "
        "no answer, fix, confirmation, question, assignment or URL needs it.",
    )
    max_images_gb: float = Field(
        20,
        gt=0,
        description="Image files that are kept, without corrected ones; of those who have most "
        "the least recently used go.",
    )
    max_batches: int = Field(
        20, ge=1, description="Batches of one advertiser that wait or run; no more are taken."
    )
    max_open_assignments: int = Field(
        100_000, ge=1, description="Assignments of one advertiser without outcomes."
    )
    max_questions: int = Field(
        100_000, ge=1, description="Questions of one advertiser's history; the oldest go."
    )
    max_upload_mb: float = Field(25, gt=0, description="Size limit of an image.")
    max_request_mb: float = Field(256, gt=0, description="Size limit of a request.")
    max_json_mb: float = Field(
        16,
        gt=0,
        description="Size limit of a batch or of outcomes in JSON: 50,000 URLs of 300 characters.",
    )
    per_host: float = Field(20, gt=0, description="Downloads per second from one host.")
    downloads_at_once: int = Field(
        4, ge=1, description="Requests of one advertiser that download URLs at once."
    )
    requests_per_s: float = Field(
        2000, ge=0, description="Requests per second of one key, or one address; 0: any number."
    )
    requests_burst: float = Field(4000, ge=1, description="Requests of one key at once.")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Names of this machine, beside localhost, to answer to without keys."
    )
    retrain_every_days: float = Field(
        0, ge=0, description="Days between retrainings, if something was corrected; 0: by hand."
    )
    retrain_threads: int | None = Field(
        None, ge=1, description="Threads of a retraining; by default all cores but one."
    )
    retrain_priority: Literal["idle", "normal"] = Field(
        "idle", description="Whether a retraining has only the time that nothing else wants."
    )
    allow_loopback: bool = Field(
        False, description="Also download from this machine: for tests alone."
    )

    @property
    def image_limits(self) -> DecodeLimits:
        """The largest image that is accepted."""
        return DecodeLimits(size_bytes=int(self.max_upload_mb * 2**20))

    @property
    def database_url(self) -> str:
        """The database's URL for SQLAlchemy."""
        return self.database or f"sqlite:///{(self.folder / 'service.db').absolute()}"


def read_settings(**given: Any) -> ServiceSettings:
    """Return the settings: what is given, else the environment, else defaults.

    Args:
        given: by name; None leaves a setting to the environment.

    Raises:
        DataError: a setting does not fit.
    """
    try:
        return ServiceSettings(
            **{name: value for name, value in given.items() if value is not None}
        )
    except ValidationError as error:
        fault = first_fault(error)
        raise DataError(
            f"the setting {fault.name} of the service does not fit",
            expected=fault.expected,
            got=repr(fault.value)[:80],
            remedy=f"Look at AUGRANK_SERVICE_{fault.name.upper()}.",
        ) from error
