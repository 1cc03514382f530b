"""``python -m training download``: from URLs to a manifest with images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from augrank.errors import BadRequest
from augrank.reporting import Reporter

if TYPE_CHECKING:
    from training.download.run import DownloadResult


def download(
    urls: Annotated[
        Path,
        typer.Argument(
            help="Text file, a URL a line (# comments), or a CSV or Parquet file of URLs, with "
            "context and outcomes.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder: images/, manifest.csv, broken.csv.")],
    url_column: Annotated[str, typer.Option(help="Of a CSV or Parquet file.")] = "url",
    per_host: Annotated[
        float, typer.Option(min=0.01, help="Requests per second to one host.")
    ] = 2.0,
    connections: Annotated[int, typer.Option(min=1, max=256, help="At a time.")] = 8,
    tries: Annotated[int, typer.Option(min=1, help="Of each image, at growing intervals.")] = 5,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds for one request, body included.")
    ] = 60.0,
    contact: Annotated[
        str, typer.Option(help="Your mail address or page, for the servers' owners to see.")
    ] = "",
    retry_broken: Annotated[
        bool, typer.Option("--retry-broken", help="Also ask for what was broken for good.")
    ] = False,
) -> None:
    """Download the images of a list; the same command again goes on where it was.

    Writes OUT/manifest.csv, the list's rows with their images, for fit. Rows
    whose image could not be had are left out, labels and all, and stand in
    OUT/broken.csv with the reason.

    What fails for now (timeouts, 429, 5xx) is tried again, as late as the
    server asks; what is broken for good (404, not an image, too large) is not.
    Only public addresses are asked: a name that leads to a private one is
    refused, after redirects too. Proxies of the environment are not used, nor
    are cookies. robots.txt is not read: download what you may.

    Example: python -m training download urls.csv --out data/shop
    """
    from training.cli.app import kind_errors

    with kind_errors(resumable=True) as reporter:
        try:
            from training.download import run as job
        except ImportError as error:
            raise BadRequest(
                f"cannot download here: {error}", remedy="pip install 'augrank[train,server]'"
            ) from error
        options = job.DownloadOptions(
            per_host=per_host,
            connections=connections,
            tries=tries,
            timeout_s=timeout,
            contact=contact,
            retry_broken=retry_broken,
        )
        done = job.download(urls, out, reporter, url_column=url_column, options=options)
        _tell(done, reporter)


def _tell(done: "DownloadResult", reporter: Reporter) -> None:
    before = f", {done.existing:,} were there already" if done.existing else ""
    reporter.say(f"{done.manifest}: {done.rows:,} rows of {done.images:,} images{before}")
    if done.left_out:
        for_now = sum(row.state == "failed" for row in done.left_out)
        again = f"; the same command tries {for_now:,} of them again" if for_now else ""
        reporter.say(
            f"Left out {len(done.left_out):,} rows without an image: "
            f"{done.manifest.with_name('broken.csv')} says why{again}",
            style="warning",
        )
    name = done.manifest.parent.resolve().name
    reporter.say(f"Next: python -m training fit --manifest {done.manifest} --out runs/{name}")
