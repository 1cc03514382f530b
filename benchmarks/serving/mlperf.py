"""MLPerf's own load generator as a client of the endpoint: SingleStream, Server and Offline.

LoadGen schedules the requests and measures the times. This module only posts the requests,
as LoadGen's system under test, and reads the figures from LoadGen's log.
"""

import json
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.http_client import OK, HttpClient, HttpEndpoint, Payload

SERVER_LOAD = 0.7  # of the peak
SERVER_LATENCY_FACTOR = 5  # bound on the Server scenario's p99 / a lone request's latency
FIGURES = {
    "SingleStream": (
        "90.00 percentile latency (ns)",
        "Mean latency (ns)",
        "QPS w/ loadgen overhead",
    ),
    "Server": ("Completed samples per second", "Result is", "99.00 percentile latency (ns)"),
    "Offline": ("Samples per second",),
}


@dataclass(frozen=True)
class LoadGenConfig:
    """Load and duration of LoadGen's scenarios."""

    peak: float  # peak answers per second of the server
    lone_ms: float  # latency of a lone request
    seconds: float  # duration of each scenario
    connections: int  # at most


def run_loadgen(
    endpoint: HttpEndpoint, bodies: Sequence[Payload], config: LoadGenConfig
) -> dict[str, Any]:
    """Run the three scenarios.

    Returns:
        LoadGen's figures by scenario, with the number of failed requests; or, under ``skipped``,
        the reason why it did not run.
    """
    try:
        import mlperf_loadgen
    except ImportError:
        return {"skipped": "mlcommons-loadgen is not installed: pip install 'augrank[peers]'"}
    results: dict[str, Any] = {}
    for scenario in FIGURES:
        with tempfile.TemporaryDirectory(prefix="augrank-loadgen-") as scratch:
            system = _System(mlperf_loadgen, endpoint, bodies, config.connections)
            logs = mlperf_loadgen.LogSettings()
            logs.log_output.outdir = scratch
            logs.log_output.copy_summary_to_stdout = False
            logs.enable_trace = False
            system.run(_settings(mlperf_loadgen, scenario, config), logs)
            summary = (Path(scratch) / "mlperf_log_summary.txt").read_text(encoding="utf-8")
        results[scenario] = {**_figures(summary, scenario), "failed": system.failed}
    return results


class _System:
    """The system under test for LoadGen."""

    def __init__(
        self, module: Any, endpoint: HttpEndpoint, bodies: Sequence[Payload], connections: int
    ) -> None:
        self._module, self._endpoint, self._bodies = module, endpoint, bodies
        self._pool = ThreadPoolExecutor(connections)
        self._local = threading.local()
        self.failed = 0

    def run(self, settings: Any, logs: Any) -> None:
        module, count = self._module, len(self._bodies)
        system = module.ConstructSUT(self._issue, lambda: None)
        library = module.ConstructQSL(count, count, lambda _: None, lambda _: None)
        try:
            module.StartTestWithLogSettings(system, library, settings, logs)
        finally:
            self._pool.shutdown()
            module.DestroyQSL(library)
            module.DestroySUT(system)

    def _issue(self, samples: Sequence[Any]) -> None:
        for sample in samples:
            self._pool.submit(self._post, sample.id, sample.index)

    def _post(self, number: int, index: int) -> None:
        client: HttpClient | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = HttpClient(self._endpoint)
        status, _ = client.post(self._bodies[index])
        if status != OK:
            self.failed += 1
        self._module.QuerySamplesComplete([self._module.QuerySampleResponse(number, 0, 0)])


def _settings(module: Any, scenario: str, config: LoadGenConfig) -> Any:
    settings = module.TestSettings()
    settings.scenario = getattr(module.TestScenario, scenario)
    settings.mode = module.TestMode.PerformanceOnly
    settings.min_duration_ms = round(1e3 * config.seconds)
    settings.min_query_count = 1
    if scenario == "Server":
        settings.server_target_qps = SERVER_LOAD * config.peak
        settings.server_target_latency_ns = round(1e6 * SERVER_LATENCY_FACTOR * config.lone_ms)
        settings.server_target_latency_percentile = 0.99
    if scenario == "Offline":
        settings.offline_expected_qps = config.peak
    return settings


def _figures(summary: str, scenario: str) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for line in summary.splitlines():
        name, colon, value = (part.strip() for part in line.partition(":"))
        if colon and name in FIGURES[scenario]:
            figures[name] = json.loads(value) if value[:1].isdigit() else value
    return figures
