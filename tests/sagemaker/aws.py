"""AWS as far as it can stand on loopback: moto's server, and SageMaker's runtime by hand.

moto keeps models, configs, endpoints, tags, transform jobs and S3 as AWS does, over real HTTP. What
it lacks is added here, and is only as good as our reading of AWS's documentation:

- ``UpdateEndpoint``: the endpoint takes the other config at once (AWS takes minutes, keeps the old
  instances until the new ones answer, and goes back by itself where they do not);
- ``InvokeEndpoint``: what a variant's container answers is told by the test, or asked of a real
  serving stack by HTTP.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.responses import SageMakerResponse
from moto.server import ThreadedMotoServer

REGION, ACCOUNT = "us-east-1", "123456789012"
Container = Callable[[str, bytes, dict[str, str]], tuple[int, bytes]]  # model, body, headers


@dataclass
class LocalAws:
    """A region on loopback."""

    container: Container
    asked: list[str] = field(default_factory=list)  # models that were invoked, in order

    def serving(self, endpoint: str, variant: str | None) -> str:
        """The model that an invocation reaches: the variant's, or the first that has traffic."""
        found = sagemaker_backends[ACCOUNT][REGION].endpoints[endpoint]
        config = sagemaker_backends[ACCOUNT][REGION].endpoint_configs[found.endpoint_config_name]
        for each in config.production_variants:
            wanted = each["VariantName"] == variant if variant else each["InitialVariantWeight"] > 0
            if wanted:
                return str(each["ModelName"])
        raise KeyError(f"{endpoint} has no variant {variant}")


def _update_endpoint(response: SageMakerResponse) -> str:
    """What moto lacks: the endpoint takes the other config."""
    name, config = response._get_param("EndpointName"), response._get_param("EndpointConfigName")
    backend = sagemaker_backends[ACCOUNT][REGION]
    endpoint, found = backend.endpoints[name], backend.endpoint_configs[config]
    endpoint.endpoint_config_name = config
    endpoint.production_variants = endpoint._process_production_variants(found.production_variants)
    return json.dumps({"EndpointArn": endpoint.arn})


@contextmanager
def local_aws(container: Container, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    """A fresh region; the environment points boto3 at it."""
    local = LocalAws(container)

    class Runtime(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            name = self.path.split("/")[2]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            variant = self.headers.get("X-Amzn-SageMaker-Target-Variant")
            model = local.serving(name, variant)
            local.asked.append(model)
            status, content = local.container(model, body, dict(self.headers.items()))
            if status != 200:
                error = {"Message": content.decode(), "OriginalStatusCode": status}
                content = json.dumps(error).encode()
            self.send_response(200 if status == 200 else 424)
            if status != 200:
                self.send_header("x-amzn-ErrorType", "ModelError")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    runtime = ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
    threading.Thread(target=runtime.serve_forever, daemon=True).start()
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    httpx.post(f"http://{host}:{port}/moto-api/reset").raise_for_status()  # of an earlier test
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": f"http://127.0.0.1:{runtime.server_port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    monkeypatch.setattr(SageMakerResponse, "update_endpoint", _update_endpoint, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    try:
        yield local
    finally:
        moto.stop()
        runtime.shutdown()
        runtime.server_close()
