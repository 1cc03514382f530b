"""The section of docs/results.md about trust."""

from benchmarks.common.markdown import render
from benchmarks.common.results import Results
from benchmarks.trust.measure import METHODS, OURS
from benchmarks.trust.methods import BOOTSTRAPS
from benchmarks.trust.targets import REAL_TARGETS, TARGETS
from benchmarks.trust.worlds import AMPLE_POWER, IMAGE_DEVIATION, ROWS_PER_ORIGINAL, VERSIONS
from simulation.engagement import CAMPAIGN_TYPES

HEADING = "## Trust: worlds whose truth is known"


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
