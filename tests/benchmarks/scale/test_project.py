"""Hours and dollars follow from rates, prices and limits."""

import json
from dataclasses import replace

import pytest

from augrank.batch.job import BATCH
from augrank.batch.ray_actors import IN_FLIGHT
from benchmarks.scale import run, simulate
from benchmarks.scale.document import scale_sections
from benchmarks.scale.history import Reading, history, measure_readings
from benchmarks.scale.limits import Node, Store, node_of
from benchmarks.scale.model import BATCH_OF, BEFORE, NOW, Rates, RayRates, driver_costs
from benchmarks.scale.project import Scenario, check, project, steps

RATES = Rates(
    task="recommend", engine="fp32 onnxruntime", batch_s=(0.4,) * 8,
    stages_ms={"decode": 2.0, "augment": 1.0, "embed": 45.0, "score": 1.0, "rank": 1.0,
               "total": 50.0},
    embed_share=0.9, image_bytes=50_000.0, row_bytes=700.0, parquet_s=1e-4, merge_s=1e-5,
    commit_s=1e-3, list_s=0.0, item_s=0.0, item_bytes=250.0,
)  # fmt: skip
RAY = RayRates(dispatch_s=1e-3, dispatch_item_s=1e-6, start_s=5.0, data_s=0.02)
CALM = Scenario(RATES, RAY, Store(latency_s=0.0, listing_s=0.0), images=640_000, failures=0.0)
READINGS = Reading(100_000, 1.5, 0.84 - 0.9 * 0.16), Reading(1_000_000, 12, 0.84)
NODE = Node("a", cores=4, bytes_per_s=1e9, usd_per_hour=1.0)


def test_what_is_simulated_is_what_augrank_does():
    assert simulate.IN_FLIGHT == IN_FLIGHT
    assert BATCH_OF == BATCH


def test_hours_and_dollars_of_one_node():
    row = project(CALM, NODE, NOW, 1)
    seconds = 640_000 * (0.4 / 8 + 1e-4) / 4
    merged_s = 640_000 * 1e-5
    assert row.hours * 3600 == pytest.approx(5 + seconds + merged_s, rel=0.01)
    assert row.requests_usd == pytest.approx(640_000 * (2 * 0.4e-6 + 5e-9))
    assert row.usd == pytest.approx(row.hours + row.requests_usd)
    assert row.bottleneck == "cores"
    assert project(CALM, NODE, NOW, 8).images_per_s == pytest.approx(8 * row.images_per_s, rel=0.02)


def test_before_the_driver_bounds_what_actors_do_not():
    before, now = (project(CALM, NODE, design, 64) for design in (BEFORE, NOW))
    assert before.bottleneck == "driver"
    driver_s = 10_000 * (0.02 + 64e-6 + 1e-3 + 64e-4)  # a block, its items, its file, its rows
    assert before.hours * 3600 == pytest.approx(driver_s, rel=0.05)
    assert now.bottleneck == "cores"
    assert now.hours < before.hours / 2


def test_a_part_of_many_shards_stands_for_all(monkeypatch):
    monkeypatch.setattr("benchmarks.scale.project.MOST_SIMULATED", 2000)
    row = project(replace(CALM, images=64 * 8000), NODE, BEFORE, 16)
    scored_s = 8000 * 8 * 0.4 / (16 * 4)  # in 64 workers
    assert row.hours * 3600 == pytest.approx(5 + scored_s + 64 * 8000 * 1e-5, rel=0.03)


def test_a_gpu_leaves_all_but_the_network():
    bound = project(CALM, replace(NODE, gpu="T4"), NOW, 1)
    plain = project(CALM, NODE, NOW, 1)
    assert bound.images_per_s == pytest.approx(10 * plain.images_per_s, rel=0.05)


def test_listing_is_shared_by_jobs_that_list_a_part_each():
    one = driver_costs(RATES, RAY, NOW, 1000, listing_s=1e-4)
    four = driver_costs(RATES, RAY, replace(NOW, listers=4), 1000, listing_s=1e-4)
    assert one.before_s == pytest.approx(0.1) == pytest.approx(4 * four.before_s)


def test_a_real_run_is_compared_with_the_same_nodes_and_images():
    found = check(CALM, NOW, {"nodes": 2, "images": 400, "seconds": 10.0})
    assert found["simulated_s"] == pytest.approx(5 + 200 * 0.0501, rel=0.05)
    assert found["simulated_over_real"] == pytest.approx(found["simulated_s"] / 10)


def test_steps_are_images_a_second():
    found = steps(replace(CALM, store=Store(prefixes=2)), NOW, NODE)
    assert found["listing"] == pytest.approx(10_000)
    assert found["requests"] == pytest.approx(5500)
    assert found["network"] == pytest.approx(1e9 / 50_700)
    assert found["decode"] == pytest.approx(2000)
    assert found["merge"] == pytest.approx(100_000)


def test_a_history_takes_the_cheapest_type_that_holds_it():
    found = history(RATES, *READINGS)
    assert found["read_hours"] == pytest.approx(1000 * 12 / 3600)
    assert found["memory_gb"] == pytest.approx(0.84 + 999 * 0.16)
    assert found["type_memory_gb"] == 192
    assert found["type"] == "ml.g4dn.12xlarge"
    assert found["usd"] == pytest.approx(found["hours"] * 4.89)


def test_a_history_is_simulated_and_read():
    short, long = measure_readings((1, 3))
    assert (short.rows, long.rows) == (1314, 3942)
    assert short.s > 0
    assert 0.05 < short.gb < 2


def test_the_types_of_the_table_are_in_the_price_file():
    assert node_of("ml.c5.4xlarge").cores == 16
    assert node_of("ml.g5.xlarge").gpu == "A10G"


def test_results_are_plain_data_and_make_the_document(monkeypatch):
    listed = replace(RATES, list_s=1e-6)
    tasks = iter((listed, replace(listed, task="classify", stages_ms={
        "decode": 1.0, "embed": 5.0, "score": 0.1, "total": 6.1})))  # fmt: skip
    runs = {"driver": vars(RAY), "runs": [{"nodes": 1, "images": 400, "seconds": 25.0}]}
    monkeypatch.setattr(run, "measure_rates", lambda *_: next(tasks))
    monkeypatch.setattr(run, "_ray_runs", lambda *_: runs)
    monkeypatch.setattr(run, "measure_readings", lambda: READINGS)
    reporter = type("Reporter", (), {"say": lambda *_: None})()
    config = run.ScaleConfig(images=100_000, nodes=(1, 2))
    content = run.measure_scale([None, None], None, config, reporter)
    content = json.loads(json.dumps({**content, "command": "python -m benchmarks scale B"}))
    text = "\n\n".join(scale_sections(content))
    assert text.count("\n## ") == 4
    assert content["checks"][0]["simulated_s"] == pytest.approx(25.05, abs=0.2)
    simulated = content["checks"][0]["simulated_s"]
    assert f"| 1 | 400 | 25.0 | {simulated:.1f} | {simulated / 25:.2f} |" in text
    assert "| recommend, ml.g5.xlarge (bound) | 2 |" in text
    assert "| classify, before |" in text
    assert "\n| | recommend | classify |\n| --- | --- | --- |\n| graph, engine | fp32 " in text
    assert all(len(line) <= 120 or line.startswith("|") for line in text.splitlines())
