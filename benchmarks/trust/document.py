"""The section of docs/results.md about trust."""

import re

from benchmarks.common.markdown import render
from benchmarks.common.results import Results
from benchmarks.trust.measure import METHODS, OURS
from benchmarks.trust.methods import BOOTSTRAPS
from benchmarks.trust.targets import REAL_TARGETS, TARGETS
from benchmarks.trust.worlds import AMPLE_POWER, IMAGE_DEVIATION, ROWS_PER_ORIGINAL, VERSIONS
from simulation.engagement import CAMPAIGN_TYPES

HEADING = "## Trust: worlds whose truth is known"
SECTION = re.compile(rf"(?ms)^{re.escape(HEADING)}$.*?(?=^## |\Z)")


def trust_section(results: Results) -> str:
    """Render the results of ``python -m benchmarks trust``."""
    overall = results["overall"]
    real = {world["name"]: world["methods"][OURS] for world in results["real"]}
    return render(
        "trust.md.j2",
        results,
        heading=HEADING,
        our_method=OURS,
        methods=METHODS,
        over_all={"methods": overall},
        targets=[target.row(overall[OURS]) for target in TARGETS],
        real_targets=[target.row(real[world]) for world, target in REAL_TARGETS if world in real],
        rows_per_original=ROWS_PER_ORIGINAL,
        campaigns=len(CAMPAIGN_TYPES),
        versions=len(VERSIONS),
        ample_power=AMPLE_POWER,
        image_deviation=IMAGE_DEVIATION,
        bootstraps=BOOTSTRAPS,
    )


def with_trust_section(document: str, section: str) -> str:
    """Return a document with this section, in place of an earlier one or at its end."""
    if SECTION.search(document):
        return SECTION.sub(lambda _: f"{section}\n\n", document).rstrip() + "\n"
    return f"{document.rstrip()}\n\n{section}\n".lstrip()


def trust_section_of(document: str) -> str:
    """Return the section of a document, without blank lines around it; empty if it has none."""
    found = SECTION.search(document)
    return found.group().strip() if found else ""
