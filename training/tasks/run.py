"""From options to a finished run: what ``fit`` does, and what a job on SageMaker does."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrank.reporting import NullReporter, Reporter
from training.common.context import TrainContext
from training.config import FitConfig, load_config
from training.distributed.rendezvous import Launch, agent_id
from training.distributed.world import process_group

if TYPE_CHECKING:
    from training.data.manifest.manifest import Manifest
    from training.run.epoch import Epoch

SHOWN_BAD_ROWS = 3


def run_fit(
    config: Path | None,
    options: dict[str, Any],
    reporter: Reporter,
    *,
    overwrite: bool = False,
    on_epoch: Callable[["Epoch"], None] = lambda epoch: None,
) -> dict[str, Any]:
    """Train, resume, or recognise a finished run.

    Args:
        config: a file of options, or None.
        options: of the command line; None where not given.
        reporter: shows progress.
        overwrite: start anew in a run directory that is in use.
        on_epoch: told of every epoch, those of before an interrupt first.

    Returns:
        The contents of report.json; nothing in processes of torchrun that do not lead.
    """
    from training.data.dataset import read_manifest  # options are checked before pandas loads
    from training.run.folder import RunFolder

    chosen = load_config(config, options)
    with process_group(chosen.device) as world:
        ctx = TrainContext(reporter if world.is_main else NullReporter(), world)
        launch = Launch.from_ids(world.all_gather(agent_id()))
        folder = RunFolder(chosen.out)
        checked = read_manifest(chosen)
        # A finished run is recognised without torch, which takes seconds to load.
        if overwrite or world.size > 1 or folder.complete() is None:
            from training.backbone.train import check_options

            check_options(chosen, world)
        with folder.held() if world.is_main else nullcontext():
            return _fit_together(chosen, checked, ctx, launch, overwrite, on_epoch)


def _fit_together(
    config: FitConfig,
    checked: "Manifest",
    ctx: TrainContext,
    launch: Launch,
    overwrite: bool,
    on_epoch: Callable[["Epoch"], None],
) -> dict[str, Any]:
    from augrank.files import read_json
    from training.data.dataset import load_dataset
    from training.data.embedding_cache import evict_embeddings
    from training.data.manifest.read import format_rows, write_bad_rows

    reporter, world = ctx.reporter, ctx.world
    data = load_dataset(config, checked, ctx)
    world.check_same("options and data", data.fingerprint[:8])
    folder, manifest = data.folder, data.manifest
    if world.is_main:
        # What torchrun starts again goes on.
        anew = overwrite and not launch.is_restart(folder.checkpoints)
        if folder.start(data.config.decisive(), data.data, overwrite=anew):
            evict_embeddings(folder.cache)
        launch.record(folder.checkpoints)
        write_bad_rows(folder.skipped, manifest.unit, manifest.left_out)
    if manifest.skipped:
        reporter.say(
            f"Going on without {manifest.skipped:,} bad rows, which {folder.skipped} lists:\n"
            + format_rows(manifest.left_out, manifest.unit, SHOWN_BAD_ROWS),
            style="warning",
        )
    record = world.broadcast(folder.complete() if world.is_main else None)
    if record and record["fingerprint"] == data.fingerprint:
        reporter.say(f"{folder.root} is already complete: nothing to do")
        return read_json(folder.report) if world.is_main else {}
    counts = data.row_counts()["originals"]
    reporter.say(
        f"{len(manifest.frame):,} rows, {len(manifest.originals):,} originals: "
        + ", ".join(f"{counts[split]:,} {split}" for split in counts)
    )
    from training.run.report import print_report
    from training.tasks.recommend import fit as train

    report = train(data, ctx, on_epoch)
    if report is None:
        return {}
    print_report(report, reporter)
    seconds = sum(report["seconds"].values())
    reporter.say(f"Done in {seconds:.0f} s: {folder.root}  (report.json, plots/, tensorboard/)")
    if report["heads"]:
        reporter.say(f"Next: python -m export build {folder.root} --out dist")
    return report
