"""Hours and dollars of a job of many images, by simulation."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from benchmarks.scale.limits import (
    FAILURES_PER_NODE_HOUR,
    GET_USD,
    KEYS_PER_LIST,
    LIST_USD,
    LOCAL_DISK,
    MOUNTED,
    Node,
    Store,
)
from benchmarks.scale.model import BATCH_OF, Design, DriverCosts, Rates, RayRates, driver_costs
from benchmarks.scale.simulate import Cluster, Job, Outcome, service_times, simulate

MOST_SIMULATED = 50_000  # shards
NODES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


@dataclass(frozen=True)
class Row:
    """A simulated job on so many nodes."""

    task: str
    type: str
    nodes: int
    design: str
    hours: float
    listing_hours: float
    merge_hours: float
    usd: float  # instances for the whole time, and S3's requests
    requests_usd: float
    images_per_s: float  # of the whole
    busy: dict[str, float]  # while scoring
    bottleneck: str
    redone: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Scenario:
    """What is simulated: a task's rates, Ray's, the store, the number of images, a seed."""

    rates: Rates
    ray: RayRates
    store: Store = MOUNTED
    images: int = 100_000_000
    failures: float = FAILURES_PER_NODE_HOUR
    seed: int = 0

    def of_gpu_bound(self) -> "Scenario":
        """Return the scenario with a network that takes no time: no GPU is faster."""
        batch_s = tuple(each * (1 - self.rates.embed_share) for each in self.rates.batch_s)
        return replace(self, rates=replace(self.rates, batch_s=batch_s))


def outcome(
    scenario: Scenario, design: Design, nodes: int, cores: int, bytes_per_s: float
) -> Outcome:
    """Simulate a job on nodes of ``cores`` workers each.

    Of jobs with too many shards a part is simulated, and what follows the workers' start is taken
    in proportion.
    """
    rates, store, images = scenario.rates, scenario.store, scenario.images
    size = design.shard_images(images)
    shards = -(-images // size)
    times = max(1.0, shards / MOST_SIMULATED)
    shards = min(shards, MOST_SIMULATED)
    driver = driver_costs(rates, scenario.ray, design, images, store.listing_s)
    encoding = 0.0 if design.driver_encodes else BATCH_OF * rates.parquet_s
    batch_s = tuple(each + encoding for each in rates.batch_s)
    service = service_times(batch_s, shards, size, store, design.reads_ahead, scenario.seed)
    if times == 1:
        service[-1] *= (images - (shards - 1) * size) / size  # the last one is not full
    job = Job(service, size * (rates.image_bytes + rates.row_bytes), size * store.requests)
    cluster = Cluster(nodes, cores, bytes_per_s, scenario.ray.start_s, scenario.failures)
    result = simulate(job, cluster, driver, store, scenario.seed)
    started = min(cluster.start_s, result.score_s)
    return replace(result, score_s=started + (result.score_s - started) * times)


def project(scenario: Scenario, node: Node, design: Design, nodes: int) -> Row:
    """Return hours and dollars of a job on nodes of a type; the driver is on the first."""
    used = scenario.of_gpu_bound() if node.gpu else scenario
    result = outcome(used, design, nodes, node.cores, node.bytes_per_s)
    hours = result.seconds / 3600
    images, store = scenario.images, scenario.store
    requests = images * (store.requests * GET_USD + LIST_USD / KEYS_PER_LIST)
    return Row(
        task=scenario.rates.task,
        type=node.name,
        nodes=nodes,
        design=design.name,
        hours=hours,
        listing_hours=result.before_s / 3600,
        merge_hours=result.after_s / 3600,
        usd=hours * nodes * node.usd_per_hour + requests,
        requests_usd=requests,
        images_per_s=images / result.seconds,
        busy={name: round(value, 4) for name, value in result.busy.items()},
        bottleneck=result.bottleneck,
        redone=result.redone,
    )


def check(scenario: Scenario, design: Design, run: dict[str, Any]) -> dict[str, Any]:
    """Compare a real run on nodes of one core each with its simulation.

    Args:
        scenario: measured rates; its store and number of images are replaced.
        design: of this version.
        run: ``nodes``, ``images`` and ``seconds`` of the real run.
    """
    here = Scenario(scenario.rates, scenario.ray, LOCAL_DISK, run["images"], 0.0, scenario.seed)
    result = outcome(here, design, run["nodes"], 1, float("inf"))
    return {
        **run,
        "simulated_s": result.seconds,
        "simulated_over_real": result.seconds / run["seconds"],
        "efficiency": float(np.clip(result.busy["cores"], 0, 1)),
    }


def steps(scenario: Scenario, design: Design, node: Node) -> dict[str, float]:
    """Return images a second that each step of a job can do on its own.

    Steps of a node are those of one node, steps of the driver and the store those of the job.
    """
    rates, store = scenario.rates, scenario.store
    driver: DriverCosts = driver_costs(rates, scenario.ray, design, 1, store.listing_s)
    size = design.shard_images(scenario.images)
    costs = driver_costs(rates, scenario.ray, design, scenario.images, store.listing_s)
    mean_s = float(np.mean(rates.batch_s)) / BATCH_OF
    stages = rates.stages_ms
    parts = {
        name: 1000 * node.cores / value
        for name, value in stages.items()
        if name != "total" and value
    }
    return {
        "listing": 1 / driver.before_s,
        "requests": store.requests_per_s / store.requests,
        "network": node.bytes_per_s / (rates.image_bytes + rates.row_bytes),
        **parts,
        "parquet": node.cores / rates.parquet_s,
        "node": node.cores / (mean_s + rates.parquet_s),
        "driver": size / (costs.dispatch_s + costs.commit_s),
        "merge": 1 / rates.merge_s,
    }
