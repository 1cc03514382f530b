"""``augrank serve``: serve a bundle or an archive until Ctrl-C."""

import signal
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from augrank.cli.arguments import DeviceOption, PrecisionOption
from augrank.cli.command import friendly_errors
from augrank.errors import BadRequest, ServerError
from augrank.models.engines import uses_accelerator
from augrank.serving.capacity import CapacityRequest, Profile, plan_serving

if TYPE_CHECKING:
    from augrank.serving.server import ServerOptions

console = Console()


@friendly_errors
def serve(
    source: Annotated[Path, typer.Argument(help="Bundle directory, or .mar archive.")],
    port: Annotated[int, typer.Option(help="Port; 0 selects a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    profile: Annotated[
        Profile,
        typer.Option(help="latency: all cores for one request. throughput: one core per worker."),
    ] = "latency",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes (default: by profile).")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Maximum batch size of a worker (default: 1).")
    ] = None,
    batch_delay_ms: Annotated[
        int | None,
        typer.Option(min=0, help="Time in ms that a request waits for a batch to fill."),
    ] = None,
    queue_size: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of waiting requests (then 503)."),
    ] = None,
    cache_mb: Annotated[
        int | None,
        typer.Option(min=0, help="Answer cache of each worker, in MB (default: 0)."),
    ] = None,
    precision: PrecisionOption = None,
    device: DeviceOption = None,
    allow_urls: Annotated[
        bool | None,
        typer.Option(
            "--allow-urls/--no-urls",
            help="Requests may name images by URL, at public addresses (default: no). A worker "
            "waits for them up to 15 s.",
        ),
    ] = None,
    auth: Annotated[
        bool, typer.Option("--auth/--no-auth", help="Require TorchServe's inference key.")
    ] = True,
    management_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            help="Port, on loopback, of TorchServe's management API with its right to register "
            "models: for a service that promotes models (default: models stay as they are).",
        ),
    ] = 0,
) -> None:
    """Serve on TorchServe until Ctrl-C. Needs the extra `serve`."""
    try:
        from augrank.runtime.settings import WorkerSettings
        from augrank.serving.server import ServerOptions
    except ImportError as error:
        raise BadRequest(f"cannot serve: {error}", remedy="pip install 'augrank[serve]'") from error
    settings = WorkerSettings.from_environment()
    plan = plan_serving(
        CapacityRequest(
            profile,
            gpu=uses_accelerator(device or settings.device),
            workers=workers,
            threads=settings.threads,
            batch_size=batch_size,
            batch_delay_ms=batch_delay_ms,
            queue_size=queue_size,
        )
    )
    console.print(plan.explained(), highlight=False)
    chosen = ServerOptions(
        port,
        host,
        auth,
        plan,
        precision,
        device,
        cache_mb,
        allow_urls=allow_urls,
        management_port=management_port,
    )
    _run(source, chosen)


def _run(source: Path, options: "ServerOptions") -> None:
    """Start the server, print an example request, and wait for Ctrl-C."""
    from augrank.serving.server import serve as start

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            with console.status("starting TorchServe ..."):
                server = stack.enter_context(start(source, options))
            console.print(f"[green]ready[/green]: {server.url}", soft_wrap=True)
            console.print(f"\n{server.curl()}\n", soft_wrap=True, markup=False, highlight=False)
            if options.management_port:
                keys = server.torchserve.folder / "key_file.json"
                where = f"management: {server.torchserve.management_url}"
                console.print(f"{where}   keys: {keys}" if options.auth else where, soft_wrap=True)
            console.print(f"logs: {server.logs}   stop: Ctrl-C", soft_wrap=True)
            server.torchserve.process.wait()
            tail = server.torchserve.log_tail()
            raise ServerError(f"TorchServe exited. Its log ends:\n{tail}")
    except KeyboardInterrupt:
        console.print("stopped")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Stop the server; a second Ctrl-C must not leave Java behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
