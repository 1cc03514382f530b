"""The columns of a job's Parquet file, by task."""

import pyarrow as pa

from augrank.batch.job import REVIEW_KIND, ClassifyJob, ScoringJob
from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from augrank.contracts.manifest import PATH
from augrank.errors import BadRequest

# The fields of an option. Intervals have a column for each end.
_SCORE = [
    ("probability", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("difference", pa.float64()),
    ("difference_low", pa.float64()),
    ("difference_high", pa.float64()),
    ("lift", pa.float64()),
    ("better", pa.bool_()),
]
_VERDICT = [
    ("kind", pa.string()),  # change, keep or unsure
    ("choice", pa.string()),
    ("sends", pa.int64()),
    ("lift", pa.float64()),
    ("text", pa.string()),
]
RECOMMEND_COLUMNS = pa.schema(
    [
        ("item", pa.int64()),  # its number in the folder or the manifest
        (PATH, pa.string()),
        ("target", pa.string()),
        ("direction", pa.string()),
        ("context", pa.string()),  # JSON
        ("probability", pa.float64()),
        ("low", pa.float64()),  # of its 90 % interval
        ("high", pa.float64()),
        ("best_candidate", pa.string()),
        ("best_probability", pa.float64()),
        ("candidates", pa.list_(pa.struct([("name", pa.string()), *_SCORE]))),
        ("alternates", pa.list_(pa.struct([("path", pa.string()), *_SCORE]))),
        ("verdict", pa.struct(_VERDICT)),
        ("alternate_verdict", pa.struct(_VERDICT)),
        ("sha256", pa.string()),
        ("bundle_version", pa.string()),
        ("engine", pa.string()),  # the graph and what ran it
        ("error", pa.string()),  # the message, if there is no answer
    ]
)


def columns_of(job: ScoringJob) -> pa.Schema:
    """Return the columns of a job's rows.

    Raises:
        BadRequest: a label has the name of another column.
    """
    if not isinstance(job, ClassifyJob):
        return RECOMMEND_COLUMNS
    spec = load_bundle(job.bundle, ClassifySpec).spec
    return classify_columns(spec.labels, spec.ranks, tuple(spec.tags))


def classify_columns(
    labels: tuple[str, ...], ranks: tuple[str, ...] = (), tags: tuple[str, ...] = ()
) -> pa.Schema:
    """Return the columns of classified images: three for each label and rank, two for each tag.

    Raises:
        BadRequest: a label has the name of another column.
    """
    fields = [("item", pa.int64()), (PATH, pa.string())]
    for label in labels:
        fields += [
            (label, pa.string()),  # the most probable class
            (f"{label}_probability", pa.float64()),  # of it
            (f"{label}_set", pa.list_(pa.string())),  # holds the right class at the coverage
        ]
    for rank in ranks:
        fields += [
            (f"{rank}_score", pa.float64()),
            (f"{rank}_percentile", pa.float64()),  # among the calibration images
            (f"{rank}_above_median", pa.float64()),  # probability that it beats their median
        ]
    for label in tags:
        fields += [
            (f"{label}_tag", pa.string()),
            (f"{label}_tag_source", pa.string()),  # classified, default or configured
        ]
    fields += [
        (REVIEW_KIND, pa.string()),
        ("decision", pa.string()),  # accept, reject or ask
        ("credit_probability", pa.float64()),
        ("sha256", pa.string()),
        ("bundle_version", pa.string()),
        ("engine", pa.string()),  # the graph and what ran it
        ("error", pa.string()),  # the message, if there is no answer
    ]
    names = [name for name, _ in fields]
    for name in names:
        if names.count(name) > 1:
            raise BadRequest(
                f"two columns of the answers would be named {name!r}",
                expected="labels and ranks of other names",
                got=", ".join((*labels, *ranks)),
                remedy="Rename it in the manifest, and train again.",
            )
    return pa.schema(fields)
