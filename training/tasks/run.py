"""From options to a finished run, for ``fit`` and for jobs on SageMaker."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrank.files import check_output_folder, read_json
from augrank.reporting import NullReporter, Reporter
from training.common.context import TrainContext
from training.config import load_config
from training.distributed.rendezvous import Launch, agent_id
from training.distributed.world import process_group
from training.run.epoch import Epoch, ignore_epoch
from training.run.folder import RunFolder
from training.tasks.base import check_task, load_task

if TYPE_CHECKING:
    from training.data.dataset import Dataset

SHOWN_BAD_ROWS = 3


def run_fit(
    config: Path | None,
    options: dict[str, Any],
    reporter: Reporter,
    *,
    overwrite: bool = False,
    on_epoch: Callable[[Epoch], None] = ignore_epoch,
) -> dict[str, Any]:
    """Train a run, resume an interrupted one, or recognise a finished one.

    pandas and torch take seconds to load. So the options are checked before pandas is imported, and
    a finished run is recognised without torch.

    Args:
        config: a file of options, or None.
        options: those of the command line.
        reporter: shows progress.
        overwrite: start over in a run directory that is in use.
        on_epoch: called after every epoch, and first for those before an interrupt.

    Returns:
        The contents of report.json; empty outside the main process (rank 0).
    """
    chosen = load_config(config, options)
    check_task(chosen.task)
    check_output_folder(chosen.out)
    from training.data.dataset import task_data

    with process_group(chosen.device) as world:
        ctx = TrainContext(reporter if world.is_main else NullReporter(), world)
        launch = Launch.from_ids(world.all_gather(agent_id()))
        folder = RunFolder(chosen.out)
        source = task_data(chosen.task)
        manifest = source.read_manifest(chosen)
        weights = None
        if overwrite or world.size > 1 or folder.read_complete() is None:
            from training.backbone.train import check_options
            from training.graphs.write import check_engine

            check_engine(chosen)
            weights = check_options(chosen, world)
        with folder.lock() if world.is_main else nullcontext():
            data = source.load_dataset(chosen, manifest, ctx)
            world.check_same("options and data", data.fingerprint[:8])
            if world.is_main:
                _start(data, launch, overwrite=overwrite)
            _report_bad_rows(data, ctx.reporter)
            record = world.broadcast(folder.read_complete() if world.is_main else None)
            if record and record["fingerprint"] == data.fingerprint:
                ctx.reporter.say(f"{folder.root} is already complete: nothing to do")
                return read_json(folder.report) if world.is_main else {}
            task = load_task(chosen.task)
            ctx.reporter.say(data.summary())
            report = task.fit(data, ctx, on_epoch, weights)
            if report is not None:
                task.print_report(report, ctx.reporter)
                _report_end(report, folder, ctx.reporter)
            return report or {}


def _start(data: "Dataset", launch: Launch, *, overwrite: bool) -> None:
    """Prepare the run directory, in the main process (rank 0)."""
    from augrank.manifest.problems import write_bad_rows
    from training.data.embedding_cache import evict_embeddings

    folder, manifest = data.folder, data.manifest
    # Processes that torchrun restarts resume; they do not start over again.
    start_over = overwrite and not launch.is_restart(folder.checkpoints)
    if folder.start(data.config.decisive(), data.data, overwrite=start_over):
        evict_embeddings(folder.cache)
    launch.record(folder.checkpoints)
    write_bad_rows(folder.skipped, manifest.unit, manifest.left_out)


def _report_bad_rows(data: "Dataset", reporter: Reporter) -> None:
    from augrank.manifest.problems import format_rows

    manifest = data.manifest
    if manifest.skipped:
        reporter.say(
            f"Left out {manifest.skipped:,} bad rows, which {data.folder.skipped} lists:\n"
            + format_rows(manifest.left_out, manifest.unit, SHOWN_BAD_ROWS),
            style="warning",
        )


def _report_end(report: dict[str, Any], folder: RunFolder, reporter: Reporter) -> None:
    seconds = sum(report["seconds"].values())
    reporter.say(f"Done in {seconds:.0f} s: {folder.root}  (report.json, plots/, tensorboard/)")
    if any(report.get(each) for each in ("heads", "labels", "ranks")):
        reporter.say(f"Next: python -m export build {folder.root} --out dist")
