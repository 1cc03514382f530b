"""Settings of the service: options of its command, or environment variables AUGRANK_SERVICE_*."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_FOLDER = Path("build/service")


class ServiceSettings(BaseSettings):
    """All settings; each is AUGRANK_SERVICE_ and its name as an environment variable."""

    model_config = SettingsConfigDict(env_prefix="AUGRANK_SERVICE_", frozen=True, extra="forbid")

    database: str = Field("", description="URL of the database; by default a file of FOLDER.")
    folder: Path = Field(DEFAULT_FOLDER, description="Folder for the database and images.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8090, ge=0, le=65535, description="Port; 0 takes a free one.")
    max_answers: int = Field(
        1_000_000, ge=1, description="Answers that are kept; the least recently used ones go."
    )
    max_upload_mb: float = Field(25, gt=0, description="Size limit of an image.")

    per_host: float = Field(20, gt=0, description="Downloads per second from one host.")
    allow_loopback: bool = Field(
        False, description="Also download from this machine: for tests alone."
    )

    @property
    def database_url(self) -> str:
        """The database's URL for SQLAlchemy."""
        return self.database or f"sqlite:///{(self.folder / 'service.db').absolute()}"
