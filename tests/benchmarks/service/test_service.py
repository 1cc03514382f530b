"""The service is timed as a user starts it, and the figures have a section."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from typer.testing import CliRunner

from augrank.images.decode import decode
from augrank.images.look import Look
from benchmarks.cli.app import app
from benchmarks.common.statistics import Median
from benchmarks.service import measure, new_images, server
from benchmarks.service.pictures import new_pictures
from benchmarks.service.targets import TARGETS
from tests.support.patience import PATIENCE_S


def test_no_two_drawn_pictures_look_alike():
    files = new_pictures(200, seed=5, side=128)
    assert files == new_pictures(200, seed=5, side=128)
    looks = [Look.of(decode(data, 64).pixels) for data in files]
    hashes = np.array([look.hash for look in looks], np.uint64)
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None])[~np.eye(200, dtype=bool)]
    assert distances.min() > 5
    assert not any(looks[0].same_picture(look) for look in looks[1:])


@pytest.mark.parametrize("option", ["--candidate", "--recommender"])
def test_what_is_no_bundle_is_refused_before_anything_starts(classify_export, tmp_path, option):
    (tmp_path / "notes.md").write_text("no bundle", encoding="utf-8")
    out = tmp_path / "out"
    command = ["service", str(classify_export.bundle), option, str(tmp_path / "notes.md")]
    done = CliRunner().invoke(app, [*command, "--out", str(out)])
    assert done.exit_code == 2
    assert "notes.md is not a bundle" in " ".join(done.output.split())
    assert not (out / "work").exists()


def remembered(function, results):
    """Return a function that adds its results to a list."""

    def call(*given):
        results.append(function(*given))
        return results[-1]

    return call


@pytest.mark.slow
def test_the_service_is_timed(classify_export, tiny_export, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "START_S", PATIENCE_S)
    monkeypatch.setattr(new_images, "RECOMMENDED", 8)
    measured = []
    for function in (new_images.measure_classified, new_images.measure_recommended):
        monkeypatch.setattr(measure, function.__name__, remembered(function, measured))
    out = tmp_path / "out"
    command = ["service", str(classify_export.bundle), "--recommender", str(tiny_export.bundle),
               "--rounds", "2", "--seconds", "0.3", "--urls", "200", "--out", str(out)]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout.splitlines()[-1])
    figures = {name: each["median"] for name, each in content["figures"].items()}
    promoted = {"promotion_failed", "promotion_p99_ratio", "rollback_s"}  # asked of --candidate
    assert {target.name for target in TARGETS} - set(figures) == promoted
    assert all(value > 0 for value in figures.values())
    assert figures["cached_p50_ms"] <= figures["cached_p99_ms"]
    for new, name in zip(measured, ("new", "recommended"), strict=True):
        assert len(new.service) == len(new.pipeline) == 2
        ratio = Median.of_ratios(new.service, new.pipeline)
        assert content["figures"][f"{name}_over_pipeline"] == asdict(ratio)
    document = tmp_path / "performance.md"
    done = CliRunner().invoke(app, ["document", str(out / "results.json"), "--out", str(document)])
    assert done.exit_code == 0, done.output
    assert "| from a fix to the answer that has it, ms |" in document.read_text(encoding="utf-8")
