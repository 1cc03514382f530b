"""Open the bundles that a service serves: at most one of each task."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from augrank.bundle.load import open_bundle
from augrank.bundle.spec import Bundle, BundleSpec
from augrank.errors import BadRequest, one_of

CLASSIFY, RECOMMEND = "classify", "recommend"
TASKS = (CLASSIFY, RECOMMEND)
# Requests that a bundle computes at once, and those of them that are embedded: another one may be
# decoded or scored meanwhile. More would share the cores, and only take memory.
AT_ONCE, EMBEDDED_AT_ONCE = 3, 2


@contextmanager
def open_bundles(paths: Sequence[Path]) -> Iterator[dict[str, Bundle[BundleSpec]]]:
    """Give bundles by task; archives are unpacked for the block.

    Args:
        paths: folders, or ``.mar`` archives.

    Raises:
        BundleError: one cannot be opened.
        BadRequest: one is of a task that is not served, or two are of one task.
    """
    opened: dict[str, Bundle[BundleSpec]] = {}
    with ExitStack() as stack:
        for path in paths:
            bundle = stack.enter_context(open_bundle(path, BundleSpec))
            task = bundle.spec.task
            if task not in TASKS:
                raise BadRequest(
                    f"{path} is of a task that the service does not serve",
                    expected=one_of(TASKS, task),
                    got=task,
                )
            if task in opened:
                raise BadRequest(
                    f"two bundles are of the task {task}",
                    expected="one bundle of each task",
                    got=f"{opened[task].spec.name} and {bundle.spec.name}",
                    remedy="Start a second service, with another --port and --folder.",
                )
            opened[task] = bundle
        yield opened
