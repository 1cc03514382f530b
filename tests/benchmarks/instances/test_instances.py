"""Instance types compared: trials, cost limits, clean-up and the report."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from augrank.errors import BadRequest, ServerError
from benchmarks.cli.app import app
from benchmarks.instances import catalogue, report
from benchmarks.instances import ledger as ledgers
from benchmarks.instances.figures import (
    LeftRunning,
    ServingFigures,
    TrainingFigures,
    training_figures,
)
from benchmarks.instances.ledger import Ledger
from benchmarks.instances.run import Budget, run
from training.cli import fit
from training.cli.app import app as training_app

TYPES = catalogue.instance_types()
SERVED = ServingFigures(20.0, 2, 50.0, 60.0, 100.0, 0.0)


def trained(rate: float) -> TrainingFigures:
    return TrainingFigures(rate, 0.02, 10.0, 0.1)


@dataclass
class Fake:
    """A platform that answers from a table and raises the errors in it."""

    training: dict[str, object] = field(default_factory=dict)
    serving: dict[str, object] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def train(self, kind, step):
        return self._give("training", kind)

    def serve(self, kind, step):
        return self._give("serving", kind)

    def clean(self, works, kinds, step):
        left, self.left = self.left, []
        return left

    def _give(self, work, kind):
        self.tried.append(f"{work} {kind.name}")
        found = getattr(self, work)[kind.name]
        if isinstance(found, BaseException):
            raise found
        return found


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger.open(tmp_path / "ledger.json", {"of": "a test"})


def go(platform, ledger, works, names, *, most_usd=100.0, hours=1.0, step=lambda _: None):
    kinds = [TYPES[name] for name in names]
    budget = Budget(catalogue.prices(), most_usd, hours)
    run(works, kinds, platform, ledger, budget, step)


def test_the_table_knows_what_the_seeds_had_and_newer_ones():
    assert {"ml.c5.18xlarge", "ml.p3.16xlarge", "ml.g5.xlarge", "ml.c7i.large"} <= set(TYPES)
    assert not TYPES["ml.c5.large"].trains
    assert TYPES["ml.c5.large"].serves
    assert (TYPES["ml.g4dn.12xlarge"].gpus, TYPES["ml.g4dn.12xlarge"].family) == (4, "ml.g4dn")
    assert set(catalogue.prices()) == set(TYPES)
    chosen = catalogue.chosen_types("ml.p3, ml.c5.xlarge")
    assert [kind.name for kind in chosen] == [
        "ml.p3.2xlarge",
        "ml.p3.8xlarge",
        "ml.p3.16xlarge",
        "ml.c5.xlarge",
    ]
    with pytest.raises(BadRequest, match=r"did you mean ml\.c5\.xlarge"):
        catalogue.chosen_types("m1.c5.xlarge")
    figures = {figure.type: figure for figure in catalogue.seeds()}
    # 32,370 images x 10 epochs in 3.95 h.
    assert figures["ml.c5.18xlarge"].images_per_s == pytest.approx(22.76, abs=0.01)
    assert figures["ml.p3.2xlarge"].images_per_s == pytest.approx(160.57, abs=0.01)


def test_all_rows_of_the_source_stand_beside_their_printed_names_and_sizes():
    figures = catalogue.seeds()
    assert len(figures) == len({figure.type for figure in figures}) == 16
    assert all(figure.printed_name.startswith("m1.") for figure in figures)
    p3 = [figure for figure in figures if figure.printed_name == "m1.p3.2xlarge"]
    assert [(f.type, f.gpus, f.hours) for f in p3] == [
        ("ml.p3.2xlarge", 1, 0.56),
        ("ml.p3.8xlarge", 4, 0.43),
        ("ml.p3.16xlarge", 8, 0.37),
    ]
    assert sum(figure.hours for figure in figures) == pytest.approx(38.16)
    for figure in figures:  # corrected names and sizes are those of AWS
        if figure.type in TYPES:
            known = TYPES[figure.type]
            size = (known.vcpu, known.memory_gb, known.gpus)
            assert (figure.vcpu, figure.memory_gb, figure.gpus) == size, figure.type
    swapped = {figure.type: figure.printed_size for figure in figures if figure.printed_size}
    assert swapped == {
        "ml.g4dn.12xlarge": "64 vCPU, 256 GB, 1 GPUs",
        "ml.g4dn.16xlarge": "48 vCPU, 192 GB, 4 GPUs",
    }
    shown = report.source_table(figures)
    assert shown.row_count == 16
    assert "assuming 10 epochs of 32,370 images" in str(shown.title)


def test_one_type_without_quota_does_not_stop_the_others_and_is_tried_again(ledger):
    quota = ServerError("ResourceLimitExceeded: 0 instances")
    platform = Fake(
        {"ml.c5.xlarge": trained(10), "ml.g5.xlarge": quota, "ml.c5.2xlarge": trained(19)}
    )
    names = ["ml.c5.large", "ml.c5.xlarge", "ml.g5.xlarge", "ml.c5.2xlarge"]
    go(platform, ledger, ["training"], names)
    assert platform.tried == [f"training {name}" for name in names[1:]]  # c5.large cannot train
    kinds = [TYPES[name] for name in names]
    table = {row["type"]: row for row in report.rows(kinds, ["training"], ledger, {})}
    assert "ResourceLimitExceeded" in table["ml.g5.xlarge"]["note"]
    assert "does not train" in table["ml.c5.large"]["note"]
    assert table["ml.c5.2xlarge"]["scaling_efficiency"] == pytest.approx(0.95)
    assert table["ml.c5.xlarge"]["scaling_efficiency"] == 1.0
    platform.training["ml.g5.xlarge"], platform.tried = trained(300), []
    ledger.close()
    again = Ledger.open(ledger.file, {"of": "a test"})
    go(platform, again, ["training"], names)
    assert platform.tried == ["training ml.g5.xlarge"]
    assert again.failed == {}


def test_nothing_is_started_that_might_pass_the_limit(ledger):
    platform = Fake({name: trained(1) for name in TYPES})
    go(
        platform,
        ledger,
        ["training"],
        ["ml.c5.xlarge", "ml.p3.16xlarge", "ml.g4dn.xlarge"],
        most_usd=3.0,
        hours=2.0,
    )
    assert platform.tried == ["training ml.c5.xlarge", "training ml.g4dn.xlarge"]
    assert "the limit is $3.00" in ledger.failed["training", "ml.p3.16xlarge"]
    # Two hours of $28.152.
    assert "$56.30 more" in ledger.failed["training", "ml.p3.16xlarge"]


def test_leftovers_of_a_crash_are_removed_and_charged_and_an_interrupt_is_not_a_failure(
    ledger, monkeypatch
):
    monkeypatch.setattr(ledgers, "time", SimpleNamespace(time=lambda: 1.8e9))
    ledger.begin("serving", "ml.c5.large")
    ledger.content["running"]["serving ml.c5.large"] -= 3600  # an hour ago
    platform = Fake(serving={"ml.c5.large": KeyboardInterrupt()}, left=["endpoint bench-1"])
    said = []
    with pytest.raises(KeyboardInterrupt):
        go(platform, ledger, ["serving"], ["ml.c5.large"], step=said.append)
    assert said[0] == "removed a leftover of an earlier call: endpoint bench-1"
    assert ledger.spent_usd == pytest.approx(0.102)  # an hour of it
    on_disk = json.loads(ledger.file.read_text())
    assert (on_disk["running"], on_disk["failed"], on_disk["done"]) == ({}, {}, {})
    platform.serving["ml.c5.large"] = SERVED
    go(platform, ledger, ["serving"], ["ml.c5.large"])
    assert ledger.figures("serving", "ml.c5.large") == SERVED


def test_a_job_of_long_ago_costs_its_limit_and_not_the_time_since(ledger):
    ledger.begin("training", "ml.c5.xlarge")
    ledger.content["running"]["training ml.c5.xlarge"] -= 60 * 3600
    go(Fake({"ml.c5.xlarge": trained(1)}), ledger, ["training"], ["ml.c5.xlarge"], hours=2.0)
    # Two hours at most of the lost one, and the 0.1 that the new one was billed.
    assert ledger.spent_usd == pytest.approx(2.1 * 0.204)


def test_what_could_not_be_removed_stays_in_the_ledger_and_ends_the_command(ledger):
    platform = Fake(serving={"ml.c5.large": LeftRunning("the endpoint may still run")})
    with pytest.raises(LeftRunning):
        go(platform, ledger, ["serving"], ["ml.c5.large"])
    assert ledger.running == [("serving", "ml.c5.large")]


def test_two_processes_do_not_keep_one_ledger(ledger):
    with pytest.raises(BadRequest, match="another process"):
        Ledger.open(ledger.file, {"of": "a test"})


def test_a_ledger_of_another_benchmark_is_refused(ledger, tmp_path):
    ledger.close()
    with pytest.raises(BadRequest, match="another benchmark"):
        Ledger.open(ledger.file, {"of": "something else"})
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BadRequest, match="cannot be read"):
        Ledger.open(tmp_path / "broken.json", {})


def test_costs_follow_from_prices_and_figures(ledger, tmp_path):
    names = ["ml.c5.xlarge", "ml.g4dn.xlarge"]
    platform = Fake(
        {"ml.c5.xlarge": trained(10), "ml.g4dn.xlarge": ServerError("no")},
        {"ml.c5.xlarge": SERVED, "ml.g4dn.xlarge": SERVED},
    )
    go(platform, ledger, ["training", "serving"], names)
    kinds = [TYPES[name] for name in names]
    table = report.rows(kinds, ["training", "serving"], ledger, catalogue.prices())
    first, second = table
    assert first["usd_an_epoch"] == pytest.approx(10 / 3600 * 0.204)
    # At 70 % of 20 answers/s, $0.204 an hour.
    assert first["usd_a_million"] == pytest.approx(0.204 / 3600 / 14 * 1e6)
    assert second["images_per_s"] is None
    assert second["source_images_per_s"] == pytest.approx(63.32, abs=0.01)  # in 1.42 h
    content = report.result(table, catalogue.seeds(), ledger.spent_usd, {"command": "c"})
    assert json.loads(json.dumps(content, allow_nan=False))["rows"][0]["p99_ms"] == 100.0
    report.draw(table, catalogue.seeds(), tmp_path / "plots")
    for name in ("cost_latency", "speed_up"):
        assert (tmp_path / "plots" / f"{name}.png").read_bytes()[1:4] == b"PNG"
    assert report.results_table(table).row_count == 2


def test_the_first_epoch_warms_up_where_there_are_more():
    many = training_figures([1.0, 9.0, 11.0], [9.0, 1.0, 1.2], [0.9, 0.1, 0.2], 0.1)
    assert (many.images_per_s, many.input_share) == (10.0, pytest.approx(0.15))
    assert training_figures([1.0], [9.0], [0.9], 0.1).epoch_s == 9.0


def test_mistakes_and_a_dry_run(tmp_path):
    def ask(*words: str):
        return CliRunner().invoke(app, ["instances", *words, "--out", str(tmp_path)])

    assert "--training, --serving" in ask("--local").output
    assert "either --local or --types" in ask("--training").output
    assert "--role is missing" in ask("--training", "--types", "ml.c5").output
    plan = ask(
        "--training",
        "--serving",
        "--types",
        "ml.c5.large,ml.c5.xlarge",
        "--dry-run",
        "--max-hours",
        "2",
    )
    assert plan.exit_code == 0, plan.output
    assert "does not train" in plan.output
    assert "at most $0.41" in plan.output  # two hours of ml.c5.xlarge
    assert not (tmp_path / "ledger.json").exists()


@pytest.mark.slow
def test_this_machine_as_instance_types(tiny_export, tmp_path, monkeypatch):
    from benchmarks.cli import instance_options
    from benchmarks.instances import figures, local

    (*_, whole) = local.local_types()
    monkeypatch.setattr(local, "local_types", lambda _gpu: [whole])  # one, for time's sake
    monkeypatch.setattr(instance_options, "QUICK_IMAGES", 24)
    monkeypatch.setattr(figures, "QUICK_LOAD", figures.LoadPlan(0.5, 1.5, 2))
    out = tmp_path / "bench"
    words = [
        "instances",
        "--local",
        "--training",
        "--serving",
        "--quick",
        "--out",
        str(out),
        "--set",
        "image_size=32",
        "--price-per-hour",
        "0.4",
        "--dist",
        str(tiny_export.bundle.parent),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout.splitlines()[-1])
    assert content == json.loads((out / "results.json").read_text())
    assert content["rows"][0]["type"] == whole.name
    for row in content["rows"]:
        assert row["images_per_s"] > 0
        assert 0 <= row["input_share"] < 1
        assert row["p99_ms"] >= row["p50_ms"] > 0
        assert row["usd_a_million"] > 0
    record = out / "here" / whole.name / "run" / "run.json"
    stamp = record.stat().st_mtime_ns
    again = CliRunner().invoke(app, words)  # finds all measured
    assert again.exit_code == 0, again.output
    assert record.stat().st_mtime_ns == stamp


def test_a_classifier_is_trained_on_rendered_photos(tmp_path, monkeypatch):
    """The command of its training is read as `training fit` reads it; nothing is trained."""
    from benchmarks.cli import instance_options
    from benchmarks.instances import local

    (*_, whole) = local.local_types()
    monkeypatch.setattr(local, "local_types", lambda _gpu: [whole])
    monkeypatch.setattr(instance_options, "QUICK_IMAGES", 8)
    commands = []

    def run(command, kind, step):
        commands.append([str(word) for word in command])
        report = {"history": [{"samples_per_s": 9, "seconds": 1, "input_share": 0}], "seconds": {}}
        out = Path(commands[-1][commands[-1].index("--out") + 1])
        out.mkdir(parents=True)
        (out / "report.json").write_text(json.dumps(report))

    monkeypatch.setattr(local, "_run", run)
    words = ["instances", "--local", "--training", "--quick", "--out", str(tmp_path)]
    set_to = ["--set", "task=classify", "--set", "image_size=32", "--set", "quantiles={likes: 3}"]
    done = CliRunner().invoke(app, [*words, *set_to])
    assert done.exit_code == 0, done.output
    (command,) = commands
    read = []
    monkeypatch.setattr(fit, "run_fit", lambda _config, options, *_, **__: read.append(options))
    parsed = CliRunner().invoke(training_app, command[command.index("fit") :])
    assert parsed.exit_code == 0, parsed.output
    (options,) = read
    assert (options["task"], options["labels"]) == ("classify", ("kind",))
    assert options["quantiles"] == {"likes": "3"}
    header = Path(options["manifest"]).read_text(encoding="utf-8").splitlines()[0]
    assert {"kind", "likes"} <= set(header.split(","))


def test_cores_are_counted_up_to_all_of_them():
    from benchmarks.instances.local import cores, local_types

    names = [kind.name for kind in local_types("H100")]
    assert names[0] == "here.1"
    assert names[-1] == "here.gpu"
    assert [kind.gpus for kind in local_types("H100")][-1] == 1
    with cores(1):
        assert len(os.sched_getaffinity(0)) == 1


def test_prices_are_read_from_awss_list(tmp_path):
    def product(name: str, price: str) -> str:
        dimension = {"unit": "Hrs", "pricePerUnit": {"USD": price}}
        term = {"priceDimensions": {"d": dimension}}
        return json.dumps(
            {"product": {"attributes": {"instanceName": name}}, "terms": {"OnDemand": {"t": term}}}
        )

    asked = []

    class Listed:
        def paginate(self, service, operation, **parameters):
            assert (service, operation) == ("pricing", "get_products")
            asked.append(parameters)
            first = [product("ml.c5.xlarge", "0.238"), product("ml.x9.huge", "9")]
            return [{"PriceList": first}, {"PriceList": [product("ml.g4dn.xlarge", "0.9")]}]

    found = catalogue.fetch_prices(Listed(), "eu-west-1")
    assert found == {"ml.c5.xlarge": 0.238, "ml.g4dn.xlarge": 0.9}
    assert {"Type": "TERM_MATCH", "Field": "regionCode", "Value": "eu-west-1"} in asked[0][
        "Filters"
    ]
    file = tmp_path / "prices.csv"
    catalogue.write_prices(file, "eu-west-1", "2026-11-22", found)
    assert catalogue.prices(file) == found
    file.write_text("instance,usd\na,1\n")
    with pytest.raises(BadRequest, match="type,usd_per_hour"):
        catalogue.prices(file)
