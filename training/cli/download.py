"""``python -m training download``: from URLs to a manifest with images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from augrank.errors import BadRequest
from augrank.files import check_output_folder
from augrank.reporting import Reporter
from training.cli.command import command_reporter

if TYPE_CHECKING:
    from training.download.run import DownloadResult


def download(
    urls: Annotated[
        Path,
        typer.Argument(
            help="Text file with one URL per line (# starts a comment), or CSV or Parquet with a "
            "column of URLs, context and outcomes.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for images/, manifest.csv and broken.csv.")],
    url_column: Annotated[str, typer.Option(help="Column of a table's URLs.")] = "url",
    per_host: Annotated[
        float, typer.Option(min=0.01, help="Rate limit: requests per second to one host.")
    ] = 2.0,
    connections: Annotated[
        int, typer.Option(min=1, max=256, help="Number of open connections.")
    ] = 8,
    tries: Annotated[
        int, typer.Option(min=1, help="Attempts per image, with exponential backoff.")
    ] = 5,
    timeout: Annotated[
        float, typer.Option(min=1, help="Timeout of one request in seconds, body included.")
    ] = 60.0,
    contact: Annotated[
        str, typer.Option(help="Your mail address or web page, sent to the servers in User-Agent.")
    ] = "",
    retry_broken: Annotated[
        bool, typer.Option("--retry-broken", help="Also retry images that failed permanently.")
    ] = False,
) -> None:
    """Download the images of a list; run it again to resume.

    Writes OUT/manifest.csv, the rows of the list with their images, for fit.
    Rows whose image could not be downloaded are left out and listed in
    OUT/broken.csv with the reason.

    Temporary failures (timeouts, 429, 5xx) are retried, honouring Retry-After;
    permanent ones (404, not an image, too large) are not. Only public addresses
    are contacted: a name that resolves to a private one is rejected, also after redirects. Proxies
    of the environment and cookies are not used. robots.txt is not read: download only images that
    you are allowed to.

    Example: python -m training download urls.csv --out data/shop
    """
    with command_reporter(resumable=True) as reporter:
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
        check_output_folder(out)
        done = job.download(urls, out, reporter, url_column=url_column, options=options)
        _report(done, reporter)


def _report(done: "DownloadResult", reporter: Reporter) -> None:
    before = f", {done.existing:,} already existed" if done.existing else ""
    reporter.say(f"{done.manifest}: {done.rows:,} rows of {done.images:,} images{before}")
    if done.left_out:
        for_now = sum(row.state == "failed" for row in done.left_out)
        again = f"; the same command retries {for_now:,} of them" if for_now else ""
        reporter.say(
            f"Left out {len(done.left_out):,} rows without an image: "
            f"{done.manifest.with_name('broken.csv')} says why{again}",
            style="warning",
        )
    name = done.manifest.parent.resolve().name
    reporter.say(f"Next: python -m training fit --manifest {done.manifest} --out runs/{name}")
