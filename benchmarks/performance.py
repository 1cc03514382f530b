"""Write docs/performance.md: one section for each results.json, keeping existing ones."""

import re
from collections.abc import Callable, Sequence

from augrank.errors import DataError, one_of
from benchmarks.common.markdown import render
from benchmarks.common.results import Results, check_version
from benchmarks.gpu.document import gpu_section
from benchmarks.service.document import service_section
from benchmarks.serving.document import classify_section, pipeline_section, serving_section
from benchmarks.training.document import training_section
from benchmarks.training.histories import histories_section
from benchmarks.training.neighbours import neighbours_section

HEADING = re.compile(r"(?m)^(?=## )")
SECTIONS: dict[str, Callable[[Results], str]] = {
    "classify": classify_section,
    "gpu": gpu_section,
    "histories": histories_section,
    "neighbours": neighbours_section,
    "pipeline": pipeline_section,
    "service": service_section,
    "serving": serving_section,
    "training": training_section,
}


def performance_document(results: Sequence[Results], previous: str = "") -> str:
    """Return the document: a section for each of the results, and the previous ones.

    Args:
        results: contents of results.json files.
        previous: the document so far. A section of the same heading is replaced in place.

    Raises:
        DataError: results of another version, or of a benchmark that has no section.
    """
    sections = {section.splitlines()[0]: section for section in HEADING.split(previous)[1:]}
    for content in results:
        name = content.get("benchmark")
        if name not in SECTIONS:
            raise DataError(
                "these results have no section in the document",
                expected=f"a benchmark, {one_of(SECTIONS)}",
                got=repr(name),
            )
        check_version(content)
        section = SECTIONS[name](content)
        sections[section.splitlines()[0]] = section
    opening = render("performance.md.j2")
    return "\n\n".join([opening, *(section.strip() for section in sections.values())]) + "\n"
