"""Limits and prices that are stated, not measured here: S3, instances' networks, failures.

S3's rates are those of its documentation (per prefix, us-east-1, Standard); networks are the
baseline that AWS documents for the size, not what it bursts to. Prices of instances are in
``benchmarks/instances/data/prices.csv``.
"""

from dataclasses import dataclass

from benchmarks.instances.catalogue import InstanceType, instance_types, prices

GET_PER_S = 5500.0  # of a prefix, HEAD included
PUT_PER_S = 3500.0  # of a prefix; the driver writes less than 100 shards a second
KEYS_PER_LIST = 1000
LIST_S = 0.1  # of a request for 1,000 keys; one follows the other
GET_LATENCY_S = 0.03  # of a small object, on a mounted bucket
REQUESTS_PER_IMAGE = 2  # a mounted bucket looks a name up, then reads it
GET_USD, LIST_USD = 0.4e-6, 5e-6  # a request
FAILURES_PER_NODE_HOUR = 0.01
REPLACE_S = 240.0  # from the loss of a node to its successor, without the start of its workers
GBIT = 1e9 / 8

BASELINE_GBIT = {"ml.c5.4xlarge": 5.0, "ml.c7i.8xlarge": 12.5, "ml.g5.xlarge": 2.5}
CPU_TYPES, GPU_TYPES = ("ml.c5.4xlarge", "ml.c7i.8xlarge"), ("ml.g5.xlarge",)


@dataclass(frozen=True)
class Store:
    """An object store, mounted as a folder."""

    prefixes: int = 100
    latency_s: float = GET_LATENCY_S
    listing_s: float = LIST_S / KEYS_PER_LIST  # of a key
    requests: int = REQUESTS_PER_IMAGE  # for an image

    @property
    def requests_per_s(self) -> float:
        """Requests that all prefixes together bear."""
        return GET_PER_S * self.prefixes


MOUNTED = Store()
LOCAL_DISK = Store(prefixes=10**6, latency_s=0.0, listing_s=0.0)


@dataclass(frozen=True)
class Node:
    """An instance type as a node of the cluster."""

    name: str
    cores: int  # workers
    bytes_per_s: float
    usd_per_hour: float
    gpu: str = ""


def node_of(name: str) -> Node:
    """Return an instance type of the price file as a node."""
    known: InstanceType = instance_types()[name]
    bandwidth = BASELINE_GBIT[name] * GBIT
    return Node(name, known.vcpu, bandwidth, prices()[name], known.gpu)
