"""What an earlier download left in the folder is kept, repaired or downloaded again."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from augrank.errors import DataError
from augrank.images.decode import encode
from tests.support.patience import PATIENCE_S
from tests.support.shapes import draw
from tests.training.download.site import file_of, reply
from training.download.journal import open_journal

KILLED = """
import sys
from pathlib import Path
from training.download.run import DownloadOptions, download
from augrank.download import fetch
from augrank.download.public_addresses import Guard
from augrank.reporting import NullReporter

fetch.CONNECT_S = fetch.READ_S = 600
options = DownloadOptions(per_host=500, connections=3, timeout_s=600)
download(Path(sys.argv[1]), Path(sys.argv[2]), NullReporter(), options=options,
         guard=Guard(allow_loopback=True))
"""


def test_a_killed_download_resumes(site, fetch, tmp_path):
    killed, image, out = threading.Event(), encode(draw(7), "PNG"), tmp_path / "out"

    def later(handler, _):
        killed.wait(PATIENCE_S)
        reply(handler, 200, image)

    urls = [site.image(f"/{n}", n) for n in range(8)]
    urls += [site.answer(f"/late{n}", later) for n in range(8)]
    (tmp_path / "urls.txt").write_text("\n".join(urls))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "urls.txt"), str(out)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3])
    journal = out / "journal.jsonl"
    deadline = time.monotonic() + PATIENCE_S
    while not (journal.exists() and journal.read_bytes().count(b"\n") == 8):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed.set()
    half = out / "images/.half.1.part.png"
    half.write_bytes(b"half")

    done = fetch(urls)
    assert (done.images, done.existing) == (16, 8)
    assert [site.count(f"/{n}") for n in range(8)] == [1] * 8
    assert not half.exists()
    written = pd.read_csv(done.manifest)
    assert written["relative_im_path"].tolist() == [file_of(url) for url in urls]


def test_a_torn_line_costs_one_request(site, fetch, tmp_path):
    urls = [site.image(f"/{n}", n) for n in range(3)]
    fetch(urls, connections=1)
    journal = tmp_path / "out/journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    done = fetch(urls)
    assert (done.images, done.existing) == (3, 2)
    assert [site.count(f"/{n}") for n in range(3)] == [1, 1, 2]
    lines = journal.read_text().splitlines()
    assert len(lines) == 4
    assert json.loads(lines[3])["url"] == urls[2]
    fetch(urls)
    assert site.count("/2") == 2


def test_a_deleted_file_is_downloaded_again(site, fetch, tmp_path):
    urls = [site.image(f"/{n}", n) for n in range(3)]
    fetch(urls)
    (tmp_path / "out" / file_of(urls[0])).unlink()
    (tmp_path / "out" / file_of(urls[1])).write_bytes(b"")
    assert fetch(urls).existing == 1
    assert [site.count(f"/{n}") for n in range(3)] == [2, 2, 1]
    assert (tmp_path / "out" / file_of(urls[1])).read_bytes() == site.answers["/1"]


def test_a_corrected_list_removes_the_list_of_broken_urls(site, fetch, tmp_path):
    fetch([site.image("/a"), site.root + "/missing"])
    assert (tmp_path / "out/broken.csv").exists()
    assert fetch([site.root + "/a"]).left_out == []
    assert not (tmp_path / "out/broken.csv").exists()


def test_two_processes_do_not_share_a_folder(site, fetch, tmp_path):
    with (
        open_journal(tmp_path / "out/journal.jsonl"),
        pytest.raises(DataError, match="another process is downloading"),
    ):
        fetch([site.image("/a")])


def test_a_folder_that_cannot_be_written_is_reported(site, fetch, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/images").write_text("a file")
    with pytest.raises(DataError, match=r"cannot write .*out"):
        fetch([site.image("/a"), site.image("/b")])
