"""``python -m benchmarks instances|prices``: what each instance type gives, and what it costs."""

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
from benchmarks.common.command import command_line
from benchmarks.instances.catalogue import PRICES, InstanceType, seeds
from benchmarks.instances.ledger import Ledger, Work
from benchmarks.instances.options import AwsOptions, HereOptions, WorkOptions

LOG_WIDTH = 150  # where no terminal says how wide it is
console = Console() if Console().is_terminal else Console(width=LOG_WIDTH)


@friendly_errors
@spread
def instances(asked: WorkOptions, here: HereOptions, aws: AwsOptions) -> None:
    """Time training and serving on instance types, of AWS or of this machine, with costs.

    Run it again after an interrupt: it removes what was left running and measures what is missing.

    Here: python -m benchmarks instances --local --training --serving --quick

    On AWS: python -m benchmarks instances --types ml.c5,ml.g4dn.xlarge --training --serving
    --data s3://BUCKET/shop --dist dist --max-usd 20
    """
    works = asked.works()
    if here.local == bool(aws.types):
        raise BadRequest("where to measure is not clear", expected="either --local or --types")
    where: HereOptions | AwsOptions = here if here.local else aws
    given = asked.of_fit(own_data=bool(where.data))
    kinds, usd = where.kinds()
    if asked.dry_run:
        _print_plan(works, kinds, usd, aws.max_hours)
        return
    where.check(works, asked)
    about = {"data": where.data, "options": given, "dist": asked.dist, "quick": asked.quick}
    ledger = Ledger.open(
        asked.out / "ledger.json", json.loads(json.dumps(about, default=str, sort_keys=True))
    )
    from benchmarks.instances.run import run

    try:
        with status_line(console) as step:
            run(
                works, kinds, where.place(asked, given, ledger.id, step), ledger, usd, step,
                most_usd=aws.max_usd, training_hours=aws.max_hours,
            )  # fmt: skip
    except KeyboardInterrupt:
        console.print("[yellow]interrupted[/yellow]: what was started is removed; go on with:")
        console.print(command_line(), soft_wrap=True)
        raise typer.Exit(130) from None
    finally:
        ledger.lock.close()
    _report(works, kinds, ledger, usd, asked)


@friendly_errors
def refresh_prices(
    region: Annotated[str, typer.Option(help="Whose prices.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = PRICES,
    profile: Annotated[str | None, typer.Option(help="Profile of ~/.aws/config.")] = None,
) -> None:
    """Write the file of prices anew from AWS's price list."""
    from augrank.aws.client import Aws
    from benchmarks.instances.catalogue import write_prices
    from benchmarks.instances.price_list import HOME, fetch

    found = fetch(Aws(HOME, profile), region)
    write_prices(out, region, datetime.now(UTC).date().isoformat(), found)
    console.print(f"wrote {len(found)} prices to {out}", soft_wrap=True)


def about_run(quick: bool) -> dict[str, Any]:
    """What figures have to be read with."""
    from augrank.resources import usable_cores
    from benchmarks.common.machine import machine

    return {"quick": quick, "machine": machine(usable_cores())}


def _report(
    works: list[Work],
    kinds: list[InstanceType],
    ledger: Ledger,
    usd: dict[str, float],
    asked: WorkOptions,
) -> None:
    """Table, plots, results.json, and one line of JSON."""
    from benchmarks.instances.report import draw, result, rows, shown

    measured, beside = rows(kinds, works, ledger, usd), seeds()
    about = {"command": command_line(), **about_run(asked.quick)}
    content = result(measured, beside, ledger.spent_usd, about)
    draw(measured, beside, asked.out / "plots")
    (asked.out / "results.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.print(shown(measured))
    console.print(f"{asked.out}: results.json, plots/cost_latency.png, plots/speed_up.png")
    if asked.quick:
        console.print("This was a quick run: for figures to keep, run it without --quick.")
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
    console.print(f"all of it: at most ${total:.2f}")
