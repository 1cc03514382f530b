"""A cluster of Ray on this machine, whose processes may take long to start.

It is imported by programs of their own, since Ray leaves threads behind.
"""

import os
import time
from types import SimpleNamespace

import augrank  # noqa: F401 - sets what Ray reads
from tests.support.patience import PATIENCE_S

# Ray reads these when it starts processes.
os.environ |= {
    "RAY_gcs_server_port_wait_time_s": str(PATIENCE_S),
    "RAY_raylet_start_wait_time_s": str(PATIENCE_S),
    "RAY_worker_register_timeout_seconds": str(PATIENCE_S),
    "RAY_agent_register_timeout_ms": str(1000 * PATIENCE_S),
}

import ray
from ray.cluster_utils import Cluster

__all__ = ["Cluster"]

RAYLET_S = 30  # that Ray waits for a node, by the clock that its module reads
Cluster._wait_for_node.__defaults__ = (PATIENCE_S,)
ray._private.node.time = SimpleNamespace(
    time=time.time,
    sleep=time.sleep,
    monotonic=lambda: time.monotonic() * RAYLET_S / PATIENCE_S,
)
