import asyncio
import datetime
import socket
import ssl
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

import aiohttp
import pytest

from augrank.download.public_addresses import (
    Guard,
    PermanentFailure,
    TemporaryFailure,
    check_url,
    checked_connector,
    is_public,
)
from tests.support.patience import PATIENCE_S
from tests.support.servers import serving


class _Echo(BaseHTTPRequestHandler):
    """Answer with the request's Host header; note the protocols that TLS has agreed upon."""

    protocols: ClassVar[list[str | None]] = []

    def do_GET(self):
        if isinstance(self.connection, ssl.SSLSocket):
            self.protocols.append(self.connection.selected_alpn_protocol())
        body = self.headers["Host"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def echo():
    with serving(_Echo) as server:
        yield server


@pytest.fixture
def names(monkeypatch):
    """Names that resolve to the test's addresses; records every look-up."""
    known: dict[str, list[list[str]]] = {}
    asked: list[str] = []

    def look_up(host, port, *_, **__):
        asked.append(host)
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = known[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "",
             (address, port))
            for address in found
        ]  # fmt: skip

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known, asked


def get(url, guard, ssl_context=None):
    async def ask():
        connector = checked_connector(guard, 2, ssl_context)
        timeout = aiohttp.ClientTimeout(PATIENCE_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
            return await (await client.get(url)).text()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("64:ff9b::808:808", True),  # NAT64 of 8.8.8.8
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # cloud metadata
        ("100.64.0.1", False),  # CGNAT
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("224.0.0.251", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", False),
        ("::7f00:1", False),
        ("64:ff9b::a00:1", False),  # NAT64 of 10.0.0.1
        ("2002:7f00:1::", False),  # 6to4 of 127.0.0.1
        ("2001::1", False),  # Teredo
        ("fd00:ec2::254", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("ff0e::1", False),
    ],
)
def test_only_addresses_of_the_public_internet_are_public(address, public):
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.com/a.jpg", "expected a URL of http or https, got ftp"),
        ("file:///etc/passwd", "got file"),
        ("example.com/a.jpg", "got no scheme"),
        ("https://me:secret@example.com/a.jpg", "user name or password"),
        ("https:///a.jpg", "no host"),
        ("https://example.com:port/a.jpg", "not a URL"),
        ("https://exa\x00mple.com/a.jpg", "not a URL"),
        ("https://example.com:99999/a.jpg", "the port 99999 is not one of 1 to 65535"),
        ("https://example.com:0/a.jpg", "the port 0 is not"),
        ("https://exa mple.com/a.jpg", "is not the name of a host"),
        ("https://example.com\\a.jpg", "is not the name of a host"),
        ("http://xn--a/x.png", "not a URL"),
        ("https://xn--i-7iq.ws/a.png", "not a URL"),
    ],
)
def test_urls_that_are_refused_without_a_request(url, why):
    with pytest.raises(PermanentFailure, match=why):
        check_url(url)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "017700000001",
     "127.1", "localhost"],
)  # fmt: skip
def test_this_machine_is_refused_however_it_is_written(host, echo):
    with pytest.raises((PermanentFailure, aiohttp.InvalidURL)):
        get(f"http://{host}:{echo.server_port}/", Guard())


def test_a_name_that_resolves_to_a_private_address_is_refused(names):
    known, _ = names
    known["images.example"] = [["93.184.216.34", "10.0.0.7"]]  # one bad address is enough
    with pytest.raises(
        PermanentFailure, match=r"images\.example is at 10\.0\.0\.7, which is not a public"
    ):
        get("http://images.example/", Guard())


def test_the_checked_address_is_the_one_connected_to(names, echo):
    known, asked = names
    known["images.example"] = [["127.0.0.1"], ["10.0.0.7"]]  # another one a moment later
    url = f"http://images.example:{echo.server_port}/"
    assert get(url, Guard(allow_loopback=True)) == f"images.example:{echo.server_port}"
    assert asked == ["images.example"]


def test_the_next_address_is_tried_if_one_does_not_answer(names, echo):
    known, _ = names
    known["images.example"] = [["::1", "127.0.0.1"]]  # the server listens on the second only
    url = f"http://images.example:{echo.server_port}/"
    assert get(url, Guard(allow_loopback=True)).startswith("images.example")


def test_an_unknown_name_is_a_temporary_failure(names):
    with pytest.raises(TemporaryFailure, match=r"the name nowhere\.example was not found"):
        get("http://nowhere.example/", Guard())


def test_tls_keeps_the_name(names, echo, tmp_path):
    known, _ = names
    known["images.example"] = known["other.example"] = [["127.0.0.1"]]
    certificate = _certificate("images.example", tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    serving.set_alpn_protocols(["h2", "http/1.1"])
    _Echo.protocols.clear()
    seen = []
    serving.sni_callback = lambda _socket, name, _context: seen.append(name)
    echo.socket = serving.wrap_socket(echo.socket, server_side=True)
    trusting = ssl.create_default_context(cafile=certificate)
    guard, port = Guard(allow_loopback=True), echo.server_port
    assert get(f"https://images.example:{port}/", guard, trusting) == f"images.example:{port}"
    assert (seen, _Echo.protocols) == (["images.example"], ["http/1.1"])
    with pytest.raises(
        aiohttp.ClientConnectorCertificateError, match=r"not valid for 'other\.example'"
    ):
        get(f"https://other.example:{port}/", guard, trusting)


def _certificate(name, folder):
    """Write a key and a self-signed certificate for a name to one file."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file
