"""``python -m benchmarks instances|prices``: what each instance type gives, and what it costs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from augrank.cli_errors import friendly_errors
from augrank.errors import BadRequest
from benchmarks.instances.catalogue import PRICES, InstanceType
from benchmarks.telling import typed_command

CATALOGUE = Path(__file__).parents[1] / "examples" / "catalogue" / "images"
# Without data of the user's own: rendered ones, small in a quick run.
QUICK_PICTURES, FULL_PICTURES = 100, 1000
QUICK_OPTIONS = {"image_size": 64, "epochs": 2}
FULL_OPTIONS = {"image_size": 224, "epochs": 3, "backbone": "resnet34"}
LOG_WIDTH = 150  # where no terminal says how wide it is
console = Console() if Console().is_terminal else Console(width=LOG_WIDTH)


@friendly_errors
def instances(
    types: Annotated[
        str, typer.Option(help="Comma-separated types or families (ml.c5), or all.")
    ] = "",
    local: Annotated[
        bool, typer.Option("--local", help="This machine: 1 to N cores, GPU.")
    ] = False,
    training: Annotated[bool, typer.Option("--training", help="Train on each.")] = False,
    serving: Annotated[bool, typer.Option("--serving", help="Serve on each.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Five minutes here; rough.")] = False,
    manifest: Annotated[
        Path | None, typer.Option(help="--local: what to train on (default: rendered).")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="--local: folder of its pictures.")] = None,
    data: Annotated[str, typer.Option(help="On AWS: s3://BUCKET/FOLDER to train on.")] = "",
    options: Annotated[
        list[str] | None, typer.Option("--set", help="An option of fit: epochs=3. Repeatable.")
    ] = None,
    dist: Annotated[
        Path | None, typer.Option(help="What to serve: `export build --sagemaker`'s folder.")
    ] = None,
    pictures: Annotated[Path, typer.Option(help="To ask endpoints about.")] = CATALOGUE,
    max_usd: Annotated[float, typer.Option(min=0, help="Nothing is started beyond it.")] = 10.0,
    max_hours: Annotated[float, typer.Option(min=0.1, help="Limit of one training job.")] = 6.0,
    prices: Annotated[Path, typer.Option(help="CSV: type,usd_per_hour.")] = PRICES,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="--local: of this machine.")
    ] = None,
    role: Annotated[
        str, typer.Option(envvar="SAGEMAKER_ROLE", help="ARN that containers run under.")
    ] = "",
    bucket: Annotated[str | None, typer.Option(help="(default: sagemaker-REGION-ACCOUNT)")] = None,
    image: Annotated[str, typer.Option(help="Of endpoints; `aws` for AWS's own.")] = "aws",
    training_image: Annotated[str, typer.Option(help="Of jobs; `aws` for AWS's own.")] = "aws",
    region: Annotated[str | None, typer.Option(help="AWS region.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of ~/.aws/config.")] = None,
    out: Annotated[
        Path, typer.Option(help="Table, plots, and what a second call goes on with.")
    ] = Path("build/bench/instances"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its cost.")
    ] = False,
) -> None:
    """Time training and serving on instance types, of AWS or of this machine, with costs.

    Run it again after an interrupt: it removes what was left running and measures what is missing.

    Here: python -m benchmarks instances --local --training --serving --quick

    On AWS: python -m benchmarks instances --types ml.c5,ml.g4dn.xlarge --training --serving
    --data s3://BUCKET/shop --dist dist --max-usd 20
    """
    works = [name for name, wanted in (("training", training), ("serving", serving)) if wanted]
    if not works:
        raise BadRequest("there is nothing to do", expected="--training, --serving or both")
    if local == bool(types):
        raise BadRequest("where to measure is not clear", expected="either --local or --types")
    given = _options(options, quick, ours=manifest is None and not data)
    from benchmarks.instances import catalogue
    from benchmarks.instances.figures import FULL_LOAD, QUICK_LOAD
    from benchmarks.instances.ledger import Ledger
    from benchmarks.instances.report import draw, result, rows, shown
    from benchmarks.instances.run import run

    load = QUICK_LOAD if quick else FULL_LOAD
    kinds: list[InstanceType]
    if local:
        from benchmarks.instances.local import Here, Workload, gpu_name, local_types

        kinds = local_types(gpu_name())
        usd = {} if price_per_hour is None else {k.name: price_per_hour for k in kinds}
        about: dict[str, Any] = {
            "manifest": manifest,
            "options": given,
            "dist": dist,
            "quick": quick,
        }
    else:
        kinds, usd = catalogue.chosen_types(types), catalogue.prices(prices)
        about = {"data": data, "options": given}
    if dry_run:
        _print_plan(works, kinds, usd, max_hours)
        return
    if not local:
        _check_given(works, role, data, dist)
        if unpriced := [kind.name for kind in kinds if kind.name not in usd]:
            raise BadRequest(
                f"{prices} has no price of {', '.join(unpriced)}",
                remedy="Add it, so that --max-usd holds; see python -m benchmarks prices.",
            )
    about = json.loads(json.dumps({**about, "dist": dist, "quick": quick}, default=str))
    ledger = Ledger.open(out / "ledger.json", about)
    place: Any
    if local:
        with _progress() as step:
            table, folder = _workload(manifest, images, out / "data", quick, step)
        place = Here(Workload(table, folder, given, dist, out / "here"), load)
    else:
        place = _on_aws(
            works, role, bucket, image, training_image, region, profile, ledger.id, load, data,
            given, max_hours, dist, pictures,
        )  # fmt: skip
    try:
        with _progress() as step:
            run(
                works, kinds, place, ledger, usd, step,  # type: ignore[arg-type]
                most_usd=max_usd, training_hours=max_hours,
            )  # fmt: skip
    except KeyboardInterrupt:
        console.print("[yellow]interrupted[/yellow]: what was started is removed; go on with:")
        console.print(typed_command(), soft_wrap=True)
        raise typer.Exit(130) from None
    finally:
        ledger.lock.close()
    measured, beside = rows(kinds, works, ledger, usd), catalogue.seeds()
    content = result(
        measured, beside, ledger.spent_usd, {"command": typed_command(), **about_run(quick)}
    )
    draw(measured, beside, out / "plots")
    (out / "results.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.print(shown(measured))
    console.print(f"{out}: results.json, plots/cost_latency.png, plots/speed_up.png")
    if quick:
        console.print("This was a quick run: for figures to keep, run it without --quick.")
    print(json.dumps(content, allow_nan=False))


@friendly_errors
def refresh_prices(
    region: Annotated[str, typer.Option(help="Whose prices.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = PRICES,
    profile: Annotated[str | None, typer.Option(help="Profile of ~/.aws/config.")] = None,
) -> None:
    """Write the file of prices anew from AWS's price list."""
    from augrank.aws import Aws
    from benchmarks.instances.catalogue import write_prices
    from benchmarks.instances.price_list import HOME, fetch

    found = fetch(Aws(HOME, profile), region)
    write_prices(out, region, datetime.now(UTC).date().isoformat(), found)
    console.print(f"wrote {len(found)} prices to {out}", soft_wrap=True)


def about_run(quick: bool) -> dict[str, Any]:
    """What figures have to be read with."""
    from augrank.cores import usable_cores
    from benchmarks.statistics import machine

    return {"quick": quick, "machine": machine(usable_cores())}


def _options(given: list[str] | None, quick: bool, *, ours: bool) -> dict[str, Any]:
    from augrank.cli_options import pairs
    from training.config import load_config, named_options, read_value

    defaults = (QUICK_OPTIONS if quick else FULL_OPTIONS) if ours else {}
    read = {name: read_value(name, value) for name, value in pairs(given, "--set").items()}
    options = {**defaults, **named_options(read, "--set")}
    load_config(None, {**options, "out": Path(), "images": Path()})  # refused here, not there
    return options


def _workload(
    manifest: Path | None, images: Path | None, scratch: Path, quick: bool, step: Any
) -> tuple[Path, Path]:
    """The user's manifest and pictures, or rendered ones with a simulated history."""
    if manifest is not None:
        return manifest, images or manifest.parent
    history = scratch / "history.csv"
    if not history.is_file():
        from augrank.augmentations import augmentation_set
        from training.history import write_history
        from training.render import render_catalogue
        from training.table import read_table

        count = QUICK_PICTURES if quick else FULL_PICTURES
        step(f"rendering {count} pictures")
        made = render_catalogue("sneaker", count, scratch)
        names = augmentation_set("seed").names
        write_history(read_table(made.manifest, {}), scratch, history, names, sends=2)
    return history, scratch


def _check_given(works: list[str], role: str, data: str, dist: Path | None) -> None:
    needed: list[tuple[str, str, object]] = [("--role", "an ARN, here or in SAGEMAKER_ROLE", role)]
    if "training" in works:
        needed.append(("--data", "s3://BUCKET/FOLDER: manifest and pictures", data))
    if "serving" in works:
        needed.append(("--dist", "what `python -m export build --sagemaker` wrote", dist))
    for flag, what, value in needed:
        if not value:
            raise BadRequest(f"{flag} is missing", expected=what)


def _on_aws(
    works: list[str], role: str, bucket: str | None, image: str, training_image: str,
    region: str | None, profile: str | None, mark: str, load: Any, data: str,
    options: dict[str, Any], max_hours: float, dist: Path | None, pictures: Path,
) -> Any:  # fmt: skip
    from augrank.aws import Aws
    from benchmarks.instances.aws import Account, Job, OnAws

    aws = Aws(region, profile)
    account = Account(role, bucket or aws.default_bucket, image, training_image)
    asked = sorted(p for p in pictures.glob("*") if p.suffix in (".png", ".jpg", ".jpeg"))[:20]
    if "serving" in works and not asked:
        raise BadRequest("there are no pictures", expected="PNG or JPEG files", got=str(pictures))
    return OnAws(
        aws, account, mark, load,
        job=Job(data, options, max_hours) if data else None, dist=dist, pictures=asked,
    )  # fmt: skip


def _print_plan(
    works: list[str], kinds: list[InstanceType], usd: dict[str, float], max_hours: float
) -> None:
    from benchmarks.instances.run import SERVING_HOURS, left_out

    total = 0.0
    for work in works:
        for kind in kinds:
            if why := left_out(work, kind):  # type: ignore[arg-type]
                console.print(f"{work:<9} {kind.name:<16} {why}")
                continue
            price, hours = usd.get(kind.name), max_hours if work == "training" else SERVING_HOURS
            at_most = "no price" if price is None else f"at most ${price * hours:.2f}"
            total += (price or 0.0) * hours
            console.print(f"{work:<9} {kind.name:<16} {at_most}")
    console.print(f"all of it: at most ${total:.2f}")


@contextmanager
def _progress() -> Iterator[Any]:
    """A line that says what is being done; one line each where it is no terminal."""
    if console.is_terminal:
        with console.status("") as status:
            yield status.update
    else:
        notes = Console(stderr=True)
        yield lambda text: notes.print(text, soft_wrap=True, markup=False, highlight=False)
