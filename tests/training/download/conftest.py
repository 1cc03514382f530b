"""A site, and downloads from it."""

import pytest

from augrank.download import fetch as fetching
from tests.support.patience import PATIENCE_S
from tests.training.download.site import LOOPBACK, OPTIONS, Site
from training.download.run import DownloadOptions, download


@pytest.fixture
def site():
    site = Site()
    yield site
    site.server.end()


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Let only ``timeout_s`` end a request, however slow the machine is."""
    for name in ("CONNECT_S", "READ_S"):
        monkeypatch.setattr(fetching, name, PATIENCE_S)


@pytest.fixture
def fetch(tmp_path, reporter):
    """Return a function that downloads a list or a table of URLs into tmp_path/out."""

    def run(urls, guard=LOOPBACK, **options):
        if isinstance(urls, list):
            source = tmp_path / "urls.txt"
            source.write_text("\n".join(urls))
        else:
            source = tmp_path / "urls.csv"
            urls.to_csv(source, index=False)
        chosen = DownloadOptions(**{**OPTIONS.__dict__, **options})
        return download(source, tmp_path / "out", reporter, options=chosen, guard=guard)

    return run
