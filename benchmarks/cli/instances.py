"""``python -m benchmarks instances|prices``: speed and cost of instance types."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from augrank.cli.command import friendly_errors
from augrank.cli.options import spread
from augrank.cli.reporter import status_line
from augrank.errors import BadRequest
from augrank.files import check_output_file, check_output_folder
from benchmarks.cli.instance_options import AwsOptions, LocalOptions, WorkOptions
from benchmarks.common.command import command_line
from benchmarks.instances.catalogue import PRICES, InstanceType, seeds
from benchmarks.instances.ledger import Ledger, Work

LOG_WIDTH = 150  # without a terminal
console = Console() if Console().is_terminal else Console(width=LOG_WIDTH)


@friendly_errors
@spread
def instances(measure: WorkOptions, local: LocalOptions, aws: AwsOptions) -> None:
    """Time training and serving on AWS instance types or on this machine, with costs.

    After an interrupt, run it again: it removes leftovers and measures what is missing.

    Locally: python -m benchmarks instances --local --training --serving --quick

    A classifier, on rendered photos: the same with --set task=classify

    On AWS: python -m benchmarks instances --types ml.c5,ml.g4dn.xlarge --training --serving
    --data s3://BUCKET/shop --dist dist --max-usd 20
    """
    works = measure.works()
    if local.local == bool(aws.types):
        raise BadRequest("it is not clear where to measure", expected="either --local or --types")
    where: LocalOptions | AwsOptions = local if local.local else aws
    given = measure.fit_options(own_data=bool(where.data))
    kinds, usd = where.kinds()
    if measure.dry_run:
        _print_plan(works, kinds, usd, aws.max_hours)
        return
    check_output_folder(measure.out)
    where.check(works, measure)
    about = {"data": where.data, "options": given, "dist": measure.dist, "quick": measure.quick}
    ledger = Ledger.open(
        measure.out / "ledger.json", json.loads(json.dumps(about, default=str, sort_keys=True))
    )
    from benchmarks.instances.run import Budget, run

    try:
        with status_line(console) as step:
            platform = where.platform(measure, given, ledger.id, step)
            run(works, kinds, platform, ledger, Budget(usd, aws.max_usd, aws.max_hours), step)
    except KeyboardInterrupt:
        console.print("[yellow]interrupted[/yellow]: started resources are removed; resume with:")
        console.print(command_line(), soft_wrap=True)
        raise typer.Exit(130) from None
    finally:
        ledger.close()
    _report(works, kinds, ledger, usd, measure)


@friendly_errors
def refresh_prices(
    region: Annotated[str, typer.Option(help="AWS region.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = PRICES,
    profile: Annotated[str | None, typer.Option(help="Profile of ~/.aws/config.")] = None,
) -> None:
    """Update the file of prices from AWS's price list."""
    from augrank.aws.client import Aws
    from benchmarks.instances.catalogue import PRICING_REGION, fetch_prices, write_prices

    check_output_file(out)
    found = fetch_prices(Aws(PRICING_REGION, profile), region)
    write_prices(out, region, datetime.now(UTC).date().isoformat(), found)
    console.print(f"wrote {len(found)} prices to {out}", soft_wrap=True)


def about_run(quick: bool) -> dict[str, Any]:
    """Return the conditions of the run."""
    from augrank.resources import usable_cores
    from benchmarks.common.machine import machine

    return {"quick": quick, "machine": machine(usable_cores())}


def _report(
    works: list[Work],
    kinds: list[InstanceType],
    ledger: Ledger,
    usd: dict[str, float],
    measure: WorkOptions,
) -> None:
    """Print tables and one line of JSON, and write plots and results.json."""
    from benchmarks.instances.report import draw, result, results_table, rows, source_table

    measured, beside = rows(kinds, works, ledger, usd), seeds()
    about = {"command": command_line(), **about_run(measure.quick)}
    content = result(measured, beside, ledger.spent_usd, about)
    draw(measured, beside, measure.out / "plots")
    (measure.out / "results.json").write_text(
        json.dumps(content, indent=2) + "\n", encoding="utf-8"
    )
    console.print(results_table(measured))
    console.print(source_table(beside))
    console.print(f"{measure.out}: results.json, plots/cost_latency.png, plots/speed_up.png")
    if measure.quick:
        console.print("This was a quick run: for reliable figures, run it without --quick.")
    print(json.dumps(content, allow_nan=False))


def _print_plan(
    works: list[Work], kinds: list[InstanceType], usd: dict[str, float], max_hours: float
) -> None:
    from benchmarks.instances.run import SERVING_HOURS, left_out

    total = 0.0
    for work in works:
        for kind in kinds:
            if why := left_out(work, kind):
                console.print(f"{work:<9} {kind.name:<16} {why}")
                continue
            price, hours = usd.get(kind.name), max_hours if work == "training" else SERVING_HOURS
            at_most = "no price" if price is None else f"at most ${price * hours:.2f}"
            total += (price or 0.0) * hours
            console.print(f"{work:<9} {kind.name:<16} {at_most}")
    console.print(f"total: at most ${total:.2f}")
