"""Hosting in a SageMaker container: the image's ``serve`` command.

    port 8080 ── readiness proxy ── TorchServe on loopback ── workers

The platform's contract: ``/ping`` returns 200 only if the model can answer, ``/invocations``
answers, and pending requests are still answered after SIGTERM. The model is unpacked in
``/opt/ml/model``, as ``python -m export build --sagemaker`` packed it.
"""

import asyncio
import logging
import signal
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field

from augrank.errors import AugrankError, ServerError
from augrank.models.engines import uses_accelerator
from augrank.runtime.settings import EnvironmentSettings, WholeNumber, WorkerSettings
from augrank.serving.capacity import CapacityRequest, Profile, plan_serving
from augrank.serving.readiness_proxy import ReadinessProxy
from augrank.serving.server import Server, ServerOptions, serve

logger = logging.getLogger(__name__)
EVERYWHERE = "0.0.0.0"
DRAIN_S = 25.0  # SageMaker kills 30 s after SIGTERM
WATCH_S = 2.0


class HostingSettings(EnvironmentSettings):
    """The platform's variables; the newer name of a variable takes precedence."""

    profile: Profile = Field("latency", validation_alias="AUGRANK_PROFILE")
    base: Path = Field(Path("/opt/ml"), validation_alias="SAGEMAKER_BASE_DIR")
    port: WholeNumber = Field(
        8080, ge=1, validation_alias="SAGEMAKER_BIND_TO_PORT", description="a whole number from 1"
    )
    workers: WholeNumber | None = Field(
        None,
        ge=1,
        validation_alias=AliasChoices("SAGEMAKER_TS_MIN_WORKERS", "SAGEMAKER_MODEL_SERVER_WORKERS"),
        description="a whole number from 1",
    )
    batch_size: WholeNumber | None = Field(
        None,
        ge=1,
        validation_alias="SAGEMAKER_TS_BATCH_SIZE",
        description="a whole number from 1",
    )
    batch_delay_ms: WholeNumber | None = Field(
        None,
        ge=0,
        validation_alias="SAGEMAKER_TS_MAX_BATCH_DELAY",
        description="a whole number from 0",
    )
    timeout_s: WholeNumber = Field(
        60,
        ge=1,
        validation_alias=AliasChoices(
            "SAGEMAKER_TS_RESPONSE_TIMEOUT", "SAGEMAKER_MODEL_SERVER_TIMEOUT"
        ),
        description="a whole number of seconds from 1",
    )


@dataclass(frozen=True)
class Hosting:
    """The platform's configuration: model, port, options."""

    model: Path  # the unpacked model.tar.gz
    port: int
    options: ServerOptions

    @classmethod
    def from_environment(cls) -> "Hosting":
        """Read the platform's variables and the workers' own.

        Raises:
            ServerError: a variable's value is invalid.
        """
        platform, worker = HostingSettings.from_environment(), WorkerSettings.from_environment()
        capacity = CapacityRequest(
            profile=platform.profile,
            gpu=uses_accelerator(worker.device),
            threads=worker.threads,
            workers=platform.workers,
            batch_size=platform.batch_size,
            batch_delay_ms=platform.batch_delay_ms,
        )
        return cls(
            model=platform.base / "model",
            port=platform.port,
            options=ServerOptions(
                port=0, auth=False, plan=plan_serving(capacity), timeout_s=platform.timeout_s
            ),
        )


def host(hosting: Hosting, address: str = EVERYWHERE) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        AugrankError: the model cannot be served, or the server exited.
    """
    asyncio.run(_host(hosting, address))


async def _host(hosting: Hosting, address: str) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    proxy = ReadinessProxy()
    port = await proxy.listen(address, hosting.port)
    logger.info("listening on %s:%d; %s", address, port, hosting.options.plan.explained())
    running = serve(hosting.model, hosting.options)
    starting = asyncio.create_task(asyncio.to_thread(running.__enter__))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    server = await starting  # a thread cannot be stopped, only waited for
    try:
        await _watch(proxy, server, stopping)
        if not await proxy.drain(DRAIN_S):
            logger.warning("some requests were not answered within %.0f s", DRAIN_S)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def _watch(proxy: ReadinessProxy, server: Server, stopping: asyncio.Event) -> None:
    """Keep the proxy open while a worker is ready; return after a stop signal.

    Raises:
        ServerError: TorchServe exited.
    """
    address = urlsplit(server.url)
    upstream = (address.hostname or "", address.port or 0)
    while not stopping.is_set():
        if server.torchserve.process.poll() is not None:
            raise ServerError(f"TorchServe exited. Its log ends:\n{server.torchserve.log_tail()}")
        ready = await asyncio.to_thread(server.torchserve.ready_workers)
        if ready and not proxy.is_open:
            logger.info("ready: %d workers", ready)
            proxy.open(upstream)
        elif not ready and proxy.is_open:
            logger.error("no worker is ready; rejecting requests")
            proxy.close()
        await _wait(stopping, WATCH_S)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def main() -> int:
    """Run the ``serve`` command; return 0 after a stop signal, 1 if it cannot serve."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        host(Hosting.from_environment())
    except AugrankError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says what to do
        return 1
    return 0
