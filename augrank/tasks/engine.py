"""What all tasks have: a bundle, one loaded graph of it, and a cache of embeddings."""

from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from augrank.bundle.graphs import open_graph
from augrank.bundle.load import load_bundle
from augrank.bundle.spec import Bundle, BundleSpec
from augrank.contracts.run import Precision
from augrank.errors import BadRequest
from augrank.images.decode import DecodeLimits, read_image
from augrank.models.embedding_cache import DEFAULT_MB, EmbeddingCache
from augrank.models.engines import Device
from augrank.resources import usable_cores
from augrank.tasks.base import EngineOptions

SpecT = TypeVar("SpecT", bound=BundleSpec)


class Engine(ABC, Generic[SpecT]):
    """A bundle and one loaded graph of it. The tasks are its subclasses.

    Thread-safe once loaded.

    Args:
        bundle: a checked bundle.
        threads: of the backbone; by default every core that may be used.
        precision: of the graph; by default the one that is the quickest on the device, of those
            that passed the parity gate.
        device: ``auto`` takes the quickest that this machine has, by timing.
        spin: let the backbone's idle threads spin; only useful if no other process needs the cores.
        limits: larger images are rejected.
        embedding_cache_mb: memory for embeddings of the images that were asked about last, so that
            another question needs no decoding and no backbone; 0 keeps none.
    """

    SPEC: ClassVar[type[BundleSpec]]  # the kind of bundle.json

    def __init__(  # noqa: PLR0913 - the options of an engine
        self,
        bundle: Bundle[SpecT],
        *,
        threads: int | None = None,
        precision: Precision | None = None,
        device: Device = "auto",
        spin: bool = False,
        limits: DecodeLimits = DecodeLimits(),
        embedding_cache_mb: float = DEFAULT_MB,
    ) -> None:
        self.bundle, self.limits, self.threads = bundle, limits, threads or usable_cores()
        self.graph = open_graph(bundle, precision, threads=self.threads, device=device, spin=spin)
        self.precision, self.backbone = self.graph.precision, self.graph.backbone
        self.embedding_cache = EmbeddingCache(round(embedding_cache_mb * 1024**2))
        self._load_heads()

    @abstractmethod
    def _load_heads(self) -> None:
        """Load what the graph's features are for.

        Raises:
            BundleError: a part is incompatible.
        """

    @classmethod
    def load(  # noqa: PLR0913 - the options of an engine
        cls,
        bundle: Path | str,
        *,
        threads: int | None = None,
        precision: Precision | None = None,
        device: Device = "auto",
        spin: bool = False,
        limits: DecodeLimits = DecodeLimits(),
        embedding_cache_mb: float = DEFAULT_MB,
    ) -> Self:
        """Load a bundle directory, which ``python -m export build`` wrote; see the class.

        Raises:
            BundleError: a part is incompatible; gives the remedy.
        """
        opened: Bundle[Any] = load_bundle(bundle, cls.SPEC)
        return cls(
            opened,
            threads=threads,
            precision=precision,
            device=device,
            spin=spin,
            limits=limits,
            embedding_cache_mb=embedding_cache_mb,
        )

    @classmethod
    def of(
        cls,
        bundle: Bundle[BundleSpec],
        options: EngineOptions,
        limits: DecodeLimits = DecodeLimits(),
    ) -> Self:
        """Load a bundle that is open."""
        assert isinstance(bundle.spec, cls.SPEC)
        opened: Bundle[Any] = bundle
        return cls(opened, **asdict(options), limits=limits)

    @property
    def engine(self) -> str:
        """The graph's precision, the engine and the type of its floating point arithmetic."""
        return self.graph.engine


def read_file(file: Path | str, limits: DecodeLimits) -> bytes:
    """Read an image file.

    Raises:
        BadRequest: it cannot be read.
        ImageTooLarge: it has more bytes than the limit.
    """
    try:
        return read_image(Path(file), limits)
    except OSError as error:
        raise BadRequest(
            "the image cannot be read", expected="an image file", got=f"{file}: {error.strerror}"
        ) from error
