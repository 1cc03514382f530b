"""The download step against a real server on loopback, which only a ``Guard`` of a test allows."""

import functools
import hashlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import training.download.run as job
from augrank.download.fetch import retry_after_s
from augrank.download.public_addresses import Guard
from augrank.errors import DataError
from augrank.images.augmentations import augmentation_set
from augrank.images.decode import DecodeLimits, encode
from tests.support.servers import LocalServer
from tests.support.shapes import draw
from training.cli.app import app
from training.data.manifest.manifest import check_manifest
from training.data.manifest.read import read_table
from training.download.journal import open_journal
from training.download.run import DownloadOptions, download

OPTIONS = DownloadOptions(per_host=500, tries=3, backoff_s=0.02, timeout_s=5)
LOOPBACK = Guard(allow_loopback=True)


class Site:
    """A server whose paths are images, or functions of the request; it remembers who asked."""

    def __init__(self):
        self.answers = {}
        self.asked = defaultdict(list)  # path -> times
        self.headers = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                site.asked[self.path].append(time.monotonic())
                site.headers.append(self.headers)
                answer = site.answers.get(self.path, b"")
                with suppress(ConnectionError):
                    if callable(answer):
                        answer(self, len(site.asked[self.path]))
                    else:
                        reply(self, 200 if answer else 404, answer)

            def log_message(self, *_):
                pass

        self.server = LocalServer(Handler)
        self.root = self.server.url

    def image(self, path, number=0, file_format="PNG"):
        self.answers[path] = encode(draw(number), file_format)
        return self.root + path

    def answer(self, path, answer):
        self.answers[path] = answer
        return self.root + path

    def count(self, path):
        return len(self.asked[path])


def reply(handler, status, body=b"", **headers):
    handler.send_response(status)
    for name, value in {"Content_Length": len(body), **headers}.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def site():
    site = Site()
    yield site
    site.server.end()


@pytest.fixture
def fetch(tmp_path, reporter):
    """Download a list of URLs, or a table, into tmp_path/out."""

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


def reasons(done):
    return {row.url.rpartition("/")[2]: row.reason for row in done.left_out}


def file_of(url, suffix=".png"):
    return f"images/{hashlib.sha256(url.encode()).hexdigest()[:16]}{suffix}"


def records(out):
    with open_journal(out / "journal.jsonl") as journal:
        return {url.rpartition("/")[2]: record for url, record in journal.records.items()}


def test_rows_keep_their_columns_and_those_without_an_image_go(site, fetch, tmp_path):
    a, b = site.image("/a", 1), site.image("/b.png", 2, "JPEG")
    same_as_a, missing = site.image("/copy", 1), site.root + "/missing"
    rows = [
        (a, "Newsletter", "1", a, "original"),
        (missing, "Promotion", "0", "", ""),
        (b, "Promotion", "0", a, "sketch"),
        (a, "Promotion", "", "", "rotate"),
        ("", "Newsletter", "1", "", ""),
        (same_as_a, "Newsletter", "1", missing, "brighter"),
    ]
    names = ["url", "campaign_type", "open_rate", "original", "augmentation"]
    done = fetch(pd.DataFrame(rows, columns=names))

    assert (done.rows, done.images, done.existing) == (4, 3, 0)
    assert site.count("/a") == 1
    written = pd.read_csv(done.manifest, dtype=str, keep_default_na=False)
    assert list(written.columns) == ["relative_im_path", *names]
    files = [file_of(a), file_of(b, ".jpg"), file_of(a), file_of(same_as_a)]
    assert written["relative_im_path"].tolist() == files
    assert written["open_rate"].tolist() == ["1", "0", "", "1"]
    assert written["original"].tolist() == [file_of(a), file_of(a), "", missing]
    assert (done.manifest.parent / files[1]).read_bytes() == site.answers["/b.png"]

    broken = (tmp_path / "out/broken.csv").read_text().splitlines()
    assert broken[0] == "line,url,reason,tries,state"
    assert broken[1] == f"3,{missing},HTTP 404 Not Found,1,broken"
    assert broken[2] == "6,,the row has no URL,0,broken"
    assert len(broken) == 3

    manifest = check_manifest(
        read_table(done.manifest, {}), done.manifest.parent, augmentation_set("seed", 0).names
    )
    assert (len(manifest.files), manifest.skipped) == (3, 0)


def test_parquet_and_other_columns_names(site, reporter, tmp_path):
    url = site.image("/a")
    source = tmp_path / "urls.parquet"
    rows = {"photo": [url], "relative_im_path": ["old.jpg"], "original": ["old.jpg"], "trials": [3]}
    pd.DataFrame(rows).to_parquet(source)
    done = download(source, tmp_path / "out", reporter, url_column="photo", options=OPTIONS,
                    guard=LOOPBACK)  # fmt: skip
    written = pd.read_csv(done.manifest, dtype=str)
    assert written.to_dict("records") == [
        {"relative_im_path": file_of(url), "photo": url, "original": file_of(url), "trials": "3"}
    ]


def test_comments_and_blank_lines_are_no_urls(site, fetch):
    done = fetch(["# images", "", site.image("/a"), f"  {site.image('/b')}  ", "#end"])
    assert (done.rows, done.images, done.left_out) == (2, 2, [])


def test_what_is_broken_is_listed_with_its_reason(site, fetch, tmp_path):
    good = site.image("/good", 3)
    whole = site.answers["/good"]
    sent = 0

    def endless(handler, _):
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        for _ in range(2000):
            sent += handler.wfile.write(bytes(50_000))

    urls = [
        good,
        site.answer("/gone", lambda h, _: reply(h, 410)),
        site.answer("/page", lambda h, _: reply(h, 200, b"<html>", Content_Type="text/html")),
        site.answer("/cut", whole[: len(whole) // 2]),
        site.answer("/large", lambda h, _: reply(h, 200, b"", Content_Length=10**12)),
        site.answer("/endless", endless),
        site.answer("/zipped", lambda h, _: reply(h, 200, whole, Content_Encoding="gzip")),
        site.answer("/loop", lambda h, _: reply(h, 302, Location="/loop")),
        site.answer("/ftp", lambda h, _: reply(h, 302, Location="ftp://example.com/a.png")),
        "http://user:pass@example.com/secret",
        "nonsense",
        site.image("/pixels"),
    ]
    site.answers["/pixels"] = encode(draw(0, side=300))
    limits = DecodeLimits(size_bytes=100_000, side=200)
    done = fetch(urls, limits=limits)
    why = reasons(done)
    assert done.images == 1
    assert why.pop("gone") == "HTTP 410 Gone"
    assert why.pop("page") == (
        "the bytes are not an image that can be read: expected a JPEG, PNG, WEBP or GIF file, "
        "got 6 bytes starting with 3c 68 74 6d 6c 3e, 'text/html'"
    )
    assert why.pop("cut").startswith("the image file is damaged or truncated")
    assert why.pop("large") == why.pop("endless") == "the file is larger than 100,000 bytes"
    assert why.pop("zipped").startswith("the response is compressed")
    assert why.pop("loop") == "more than 5 redirects"
    assert why.pop("ftp") == "expected a URL of http or https, got ftp"
    assert why.pop("secret").startswith("the URL contains a user name or password")
    assert why.pop("nonsense") == "expected a URL of http or https, got no scheme"
    assert why.pop("pixels").startswith("the image has too many pixels")
    assert why == {}
    assert {row.state for row in done.left_out} == {"broken"}
    assert sent < 20_000_000  # what buffers hold, of 100 MB
    assert site.count("/loop") == 6

    before = sum(map(len, site.asked.values()))
    site.image("/gone", 1)
    again = fetch(urls, limits=limits)
    assert sum(map(len, site.asked.values())) == before  # neither finished nor broken ones
    assert (again.images, again.existing) == (1, 1)
    anew = fetch(urls, limits=limits, retry_broken=True)
    assert site.count("/good") == 1
    assert (anew.images, anew.existing) == (2, 1)
    assert records(tmp_path / "out")["gone"].tries == 2


def test_redirects_are_followed_but_not_to_private_addresses(site, fetch):
    site.image("/a", 1)
    moved = site.answer("/moved", lambda h, _: reply(h, 301, Location="/a"))
    inside = [
        site.answer(f"/to{number}", lambda h, _, to=to: reply(h, 302, Location=to))
        for number, to in enumerate(
            ["http://10.0.0.1/a", "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest"]
        )
    ]
    done = fetch([moved, *inside])
    assert (done.manifest.parent / file_of(moved)).read_bytes() == site.answers["/a"]
    assert reasons(done) == {
        "to0": "10.0.0.1 is at 10.0.0.1, which is not a public address",
        "to1": "::ffff:10.0.0.1 is at ::ffff:10.0.0.1, which is not a public address",
        "to2": "169.254.169.254 is at 169.254.169.254, which is not a public address",
    }


def test_private_addresses_are_refused_without_a_request(site, fetch, tmp_path):
    site.image("/a")
    port = site.server.server_port
    hosts = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1")
    with pytest.raises(DataError, match=r"none of the images of .* could be downloaded"):
        fetch([f"http://{host}:{port}/a" for host in hosts], guard=Guard())
    assert site.asked == {}
    table = pd.read_csv(tmp_path / "out/broken.csv")
    assert table["state"].tolist() == ["broken"] * len(hosts)
    assert table["reason"].str.contains("not a public address|not a URL").all()
    assert not (tmp_path / "out/manifest.csv").exists()


def test_a_name_that_leads_to_a_private_address_is_refused(site, fetch, monkeypatch):
    found = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", site.server.server_port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [found])
    with pytest.raises(DataError, match=r"images\.example is at 127\.0\.0\.1, which is not"):
        fetch([f"http://images.example:{site.server.server_port}/a"], guard=Guard())
    assert site.asked == {}


def test_failures_are_tried_again_at_growing_intervals(site, fetch, tmp_path):
    image = encode(draw(1))

    def busy(handler, time_asked):
        reply(handler, 503 if time_asked < 3 else 200, image)

    def cut(handler, time_asked):
        handler.close_connection = True
        reply(handler, 200, image, Content_Length=len(image) + (time_asked < 2))

    urls = [site.answer("/busy", busy), site.answer("/cut", cut)]
    done = fetch(urls, backoff_s=0.2)
    assert done.images == 2
    first, second, third = site.asked["/busy"]
    assert second - first > 0.1  # half of it at least: the rest is drawn
    assert third - second > 0.2
    assert {name: record.tries for name, record in records(tmp_path / "out").items()} == {
        "busy": 3,
        "cut": 2,
    }


def test_tries_are_bounded_and_the_next_call_tries_again(site, fetch, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/dead"
    late = threading.Event()
    site.answer("/slow", lambda h, _: late.wait(60))
    site.answer("/busy", lambda h, _: reply(h, 500))
    urls = [site.image("/a"), site.root + "/slow", site.root + "/busy", dead]
    done = fetch(urls, timeout_s=0.5)
    assert {row.state for row in done.left_out} == {"failed"}
    assert reasons(done)["busy"] == "HTTP 500 Internal Server Error"
    assert reasons(done)["dead"].startswith("the connection to 127.0.0.1 failed")
    assert "0.5 s" in reasons(done)["slow"]
    assert [row.tries for row in done.left_out] == [3, 3, 3]

    site.image("/busy", 2)
    again = fetch(urls[:3], timeout_s=0.5)
    late.set()
    assert (again.images, again.existing) == (2, 1)
    assert records(tmp_path / "out")["busy"].tries == 4
    assert records(tmp_path / "out")["slow"].tries == 6


def test_retry_after_holds_the_whole_host(site, fetch):
    image = encode(draw(1))

    def busy(handler, time_asked):
        if time_asked == 1:
            reply(handler, 429, Retry_After=1)
        else:
            reply(handler, 200, image)

    urls = [site.answer("/busy", busy), *(site.image(f"/{n}", n) for n in range(3))]
    done = fetch(urls, connections=1)
    assert done.images == 4
    first, second = site.asked["/busy"]
    assert second - first >= 1
    assert min(site.asked[f"/{n}"][0] for n in range(3)) - first >= 1


def test_retry_after_holds_numbers_and_dates(monkeypatch):
    assert retry_after_s("17") == 17
    now = 1.8e9
    monkeypatch.setattr(time, "time", lambda: now)
    assert retry_after_s(formatdate(now + 100, usegmt=True)) == 100
    assert retry_after_s(formatdate(now - 100, usegmt=True)) == 0
    assert retry_after_s("") == retry_after_s("soon") == retry_after_s("-3") == 0


def test_a_host_that_asks_for_hours_is_left_for_another_call(site, fetch):
    first = site.image("/first")
    busy = site.answer("/busy", lambda h, _: reply(h, 429, Retry_After=7200))
    done = fetch([first, busy, *(site.image(f"/{n}", n) for n in range(3))], connections=1)
    assert reasons(done)["busy"] == "HTTP 429 Too Many Requests"
    assert reasons(done)["2"] == "the host requests a wait of 7,200 s"
    assert [row.tries for row in done.left_out] == [1, 0, 0, 0]
    assert site.count("/0") == 0


def test_a_host_that_is_down_is_left_for_another_call(site, fetch, monkeypatch):
    monkeypatch.setattr(job, "HOST_FAILURES", 4)
    first = site.image("/first")
    down = [site.answer(f"/{n}", lambda h, _: reply(h, 502)) for n in range(20)]
    done = fetch([first, *down], connections=1)
    assert sum(map(len, site.asked.values())) == 5
    assert len(done.left_out) == 20
    assert reasons(done)["19"] == "the host failed 4 times in a row: HTTP 502 Bad Gateway"


def test_a_host_is_asked_at_its_rate(site, fetch, monkeypatch):
    rates = []
    queue = job.RateLimitedQueue
    monkeypatch.setattr(
        job, "RateLimitedQueue", lambda per_host: rates.append(per_host) or queue(per_host)
    )
    start = time.monotonic()
    done = fetch([site.image(f"/{n}", n) for n in range(8)], per_host=20)
    assert done.images == 8
    assert rates == [20]  # and no slower: test_scheduler
    assert max(times[0] for times in site.asked.values()) - start >= 7 / 20


def test_servers_are_told_who_asks_and_nothing_else(site, fetch, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # would fail if it were used
    image = encode(draw(1))
    urls = [
        site.answer(f"/{n}", lambda h, _: reply(h, 200, image, Set_Cookie="id=7; Path=/"))
        for n in range(2)
    ]
    fetch(urls, connections=1, contact="me@example.com")
    for headers in site.headers:
        assert headers["User-Agent"] == "augrank/0.1.0 (images for training; me@example.com)"
        assert headers["Cookie"] is None
        assert headers["Accept-Encoding"] == "identity"


KILLED = """
import sys
from pathlib import Path
from training.download.run import DownloadOptions, download
from augrank.download.public_addresses import Guard
from augrank.reporting import NullReporter

options = DownloadOptions(per_host=500, connections=3)
download(Path(sys.argv[1]), Path(sys.argv[2]), NullReporter(), options=options,
         guard=Guard(allow_loopback=True))
"""


def test_a_killed_download_goes_on(site, fetch, tmp_path):
    killed, image, out = threading.Event(), encode(draw(7), "PNG"), tmp_path / "out"

    def later(handler, _):
        killed.wait(120)
        reply(handler, 200, image)

    urls = [site.image(f"/{n}", n) for n in range(8)]
    urls += [site.answer(f"/late{n}", later) for n in range(8)]
    (tmp_path / "urls.txt").write_text("\n".join(urls))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "urls.txt"), str(out)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3])
    journal = out / "journal.jsonl"
    deadline = time.monotonic() + 120
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


def test_a_file_that_is_gone_is_downloaded_again(site, fetch, tmp_path):
    urls = [site.image(f"/{n}", n) for n in range(3)]
    fetch(urls)
    (tmp_path / "out" / file_of(urls[0])).unlink()
    (tmp_path / "out" / file_of(urls[1])).write_bytes(b"")
    assert fetch(urls).existing == 1
    assert [site.count(f"/{n}") for n in range(3)] == [2, 2, 1]
    assert (tmp_path / "out" / file_of(urls[1])).read_bytes() == site.answers["/1"]


def test_a_list_that_is_mended_leaves_no_old_complaints(site, fetch, tmp_path):
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


def test_a_folder_that_cannot_be_written_is_an_error_in_words(site, fetch, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/images").write_text("a file")
    with pytest.raises(DataError, match=r"cannot write .*out"):
        fetch([site.image("/a"), site.image("/b")])


@pytest.fixture
def cli(monkeypatch):
    """The command, allowed to ask loopback where a test says so."""

    def run(*arguments, loopback=False):
        if loopback:
            allowed = functools.partial(job.download, guard=LOOPBACK)
            monkeypatch.setattr(job, "download", allowed)
        return CliRunner().invoke(app, ["download", *map(str, arguments)], env={"COLUMNS": "120"})

    return run


def test_the_help_says_what_is_not_done(cli):
    result = cli("--help")
    assert result.exit_code == 0
    output = " ".join(result.output.split())  # a line may break anywhere
    for words in ("robots.txt is not read", "Proxies of the environment", "--retry-broken"):
        assert words in output


def test_the_command_says_what_came_and_what_is_next(site, cli, tmp_path):
    site.answer("/busy", lambda h, _: reply(h, 500))
    lines = [site.image("/a", 1), site.root + "/missing", site.root + "/busy"]
    (tmp_path / "urls.txt").write_text("\n".join(lines))
    out = tmp_path / "shop"
    result = cli(tmp_path / "urls.txt", "--out", out, "--per-host", 99, "--tries", 1, loopback=True)
    assert result.exit_code == 0, result.output
    assert f"{out}/manifest.csv: 1 rows of 1 images\n" in result.output
    assert (
        f"Left out 2 rows without an image: {out}/broken.csv says why; "
        "the same command retries 1 of them"
    ) in result.output
    assert f"python -m training fit --manifest {out}/manifest.csv --out runs/shop" in result.output
    assert [file.name for file in out.glob("images/*")] == [Path(file_of(lines[0])).name]


@pytest.mark.parametrize(
    ("content", "arguments", "why"),
    [
        (None, [], "there is no file"),
        ("# nothing\n", [], "contains no URL"),
        ("http://127.0.0.1:1/a.jpg", [], "127.0.0.1 is at 127.0.0.1, which is not a public"),
        ("http://127.0.0.1:1/a.jpg", ["--contact", "zoë"], "--contact is not valid"),
    ],
)
def test_mistakes_are_short_messages_and_exit_code_2(content, arguments, why, cli, tmp_path):
    source = tmp_path / "urls.txt"
    if content is not None:
        source.write_text(content)
    result = cli(source, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert why in result.output
    assert "Traceback" not in result.output
    made = content is not None and not arguments and "//" in content
    assert (tmp_path / "out").exists() == made


def test_a_column_of_another_name_is_asked_for(cli, tmp_path):
    source = tmp_path / "urls.csv"
    source.write_text("image_url,open_rate\nhttp://127.0.0.1:1/a.jpg,1\n")
    result = cli(source, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "has no column 'url'" in result.output
    assert "image_url" in result.output
    assert "--url-column" in result.output
