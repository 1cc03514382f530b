"""The simulation against what can be computed by hand."""

import numpy as np
import pytest

from benchmarks.scale.limits import LOCAL_DISK, REPLACE_S, Store
from benchmarks.scale.model import DriverCosts
from benchmarks.scale.simulate import Cluster, Job, service_times, simulate

FREE = DriverCosts(before_s=0, dispatch_s=0, commit_s=0, after_s=0)
INFINITE = float("inf")


def job(shards, seconds, size_bytes=0.0, requests=0.0):
    return Job(np.full(shards, float(seconds)), size_bytes, requests)


@pytest.mark.parametrize(("nodes", "cores", "seconds"), [(1, 1, 120), (2, 1, 60), (3, 4, 10)])
def test_equal_shards_take_their_time_divided_by_the_workers(nodes, cores, seconds):
    result = simulate(job(12, 10), Cluster(nodes, cores, INFINITE, 5), FREE, LOCAL_DISK)
    assert result.seconds == pytest.approx(5 + seconds)
    assert result.busy["cores"] == pytest.approx(120 / (5 + seconds) / nodes / cores)
    assert result.redone == 0


def test_steps_before_and_after_are_added():
    driver = DriverCosts(before_s=100, dispatch_s=0, commit_s=0, after_s=7)
    result = simulate(job(4, 10), Cluster(1, 1, INFINITE, 5), driver, LOCAL_DISK)
    assert result.seconds == pytest.approx(100 + 45 + 7)
    assert result.bottleneck == "listing"


def test_a_slow_driver_bounds_many_workers():
    driver = DriverCosts(before_s=0, dispatch_s=0.25, commit_s=0.75, after_s=0)
    result = simulate(job(400, 1), Cluster(50, 4, INFINITE, 0), driver, LOCAL_DISK)
    assert result.seconds == pytest.approx(400, rel=0.01)
    assert result.busy["driver"] == pytest.approx(1, rel=0.01)
    assert result.bottleneck == "driver"


def test_the_next_shard_waits_at_the_worker_while_the_driver_is_busy():
    """Two shards of a worker hide the driver's time, but for the last, whoever is free takes it."""
    driver = DriverCosts(before_s=0, dispatch_s=0.4, commit_s=0.4, after_s=0)
    result = simulate(job(20, 1), Cluster(1, 1, INFINITE, 0), driver, LOCAL_DISK)
    assert result.seconds == pytest.approx(0.4 + 20 + 0.4 + (0.4 + 0.4))


def test_the_network_of_a_node_is_shared_by_its_cores():
    asked, cluster = job(40, 1, size_bytes=1000), Cluster(2, 10, 250, 0)
    result = simulate(asked, cluster, FREE, LOCAL_DISK)
    assert result.seconds == pytest.approx(20 * 1000 / 250)
    assert result.busy["network"] == pytest.approx(1)
    assert result.bottleneck == "network"


def test_requests_of_one_prefix_bound_the_whole_cluster():
    asked, cluster = job(100, 0.01, requests=550), Cluster(20, 5, INFINITE, 0)
    one = simulate(asked, cluster, FREE, Store(prefixes=1))
    ten = simulate(asked, cluster, FREE, Store(prefixes=10))
    assert one.seconds == pytest.approx(10, rel=0.01)
    assert ten.seconds == pytest.approx(1, rel=0.01)
    assert one.bottleneck == "store"


def test_lost_shards_are_answered_again():
    asked, whole = job(2000, 100), Cluster(5, 2, INFINITE, 10)
    failing = Cluster(5, 2, INFINITE, 10, failures_per_node_hour=1.0)
    calm, lossy = (simulate(asked, each, FREE, LOCAL_DISK) for each in (whole, failing))
    hours = calm.seconds / 3600
    assert lossy.redone > 0.5 * 5 * hours  # of the 5 nodes, about one an hour each
    # Every failure costs at least the time until its successor has loaded, on two workers of ten.
    least = 0.5 * 5 * hours * (REPLACE_S + 10) / 5
    assert lossy.seconds > calm.seconds + least
    assert lossy.seconds < calm.seconds * 1.5


def test_a_job_is_deterministic_by_its_seed():
    cluster = Cluster(4, 2, INFINITE, 1, failures_per_node_hour=2.0)
    results = [simulate(job(800, 60), cluster, FREE, LOCAL_DISK, seed) for seed in (0, 0, 1)]
    assert results[0] == results[1] != results[2]


def test_service_times_add_up_batches_and_wait_for_files():
    measured = (0.5, 0.7)
    local = service_times(measured, 500, 64, LOCAL_DISK, reads_ahead=True, seed=0)
    assert local.mean() == pytest.approx(8 * 0.6, rel=0.01)
    assert local.min() >= 8 * 0.5
    assert local.max() <= 8 * 0.7
    far = Store(latency_s=0.03)
    one_by_one = service_times(measured, 500, 64, far, reads_ahead=False, seed=0)
    assert one_by_one.mean() == pytest.approx(8 * 0.6 + 64 * 0.03, rel=0.01)
    ahead = service_times(measured, 500, 64, far, reads_ahead=True, seed=0)
    assert ahead.mean() == pytest.approx(8 * 0.6 + 0.03, rel=0.01)


def test_batches_quicker_than_a_file_wait_for_it():
    times = service_times((0.01,), 3, 64, Store(latency_s=0.03), reads_ahead=True, seed=0)
    assert times == pytest.approx([9 * 0.03] * 3)
