"""What is right for each manifest: the rows and columns it has, or what its message says."""

import base64
import re
from pathlib import Path

import pytest

from augrank.batch.job import items_of_manifest
from augrank.errors import DataError
from augrank.images.augmentations import augmentation_set
from augrank.manifest.read import read_table
from augrank.models.context import ContextEncoder
from training.data.manifest.context import context_columns
from training.data.manifest.manifest import ManifestOptions, check_manifest
from training.data.manifest.targets import find_targets, outcomes

FOLDER = Path(__file__).parent / "manifests"
NAMES = augmentation_set("seed").names
FURTHER_CONTEXT = ("price", "member", "sent", "name with space", "candidates", "context", "image",
                   "target")  # fmt: skip
PLAIN = {"rows": 72, "files": 24, "outcomes": 72, "notes": ()}
FEW = {**PLAIN, "outcomes": 57}  # a fifth is missing

# Rows, files and outcomes of the manifests that are read; columns of context that are categories.
READ = {
    "PLAIN.CSV": PLAIN,
    "PLAIN.PARQUET": PLAIN,
    "bool.csv": PLAIN,
    "bool_lower.csv": PLAIN,
    "bool_nullable.parquet": FEW,
    "col_name_with_space.csv": PLAIN,
    "header_case_target.csv": {**PLAIN, "notes": (r"'Open_Rate' is read as open_rate",)},
    "header_spaces.csv": PLAIN,
    "header_trailing.csv": PLAIN,
    "hex.csv": PLAIN,
    "index_path.parquet": {**PLAIN, "rows": 24, "outcomes": 24},
    "int_nullable.parquet": FEW,
    "nfc_nfd_values.csv": PLAIN,
    "nfd_for_nfc.csv": {**PLAIN, "files": 25},
    "plain.csv": PLAIN,
    "plain.csv.gz": PLAIN,
    "plain.csv.zip": PLAIN,
    "plain.parquet": PLAIN,
    "plain.pq": PLAIN,
    "price_comma.csv": {**PLAIN, "notes": (r"price: 70 categories look like numbers.*'5,09'",)},
    "price_currency.csv": {**PLAIN, "notes": (r"price: 70 categories look like .*'\$5\.09'",)},
    "price_id.csv": {**PLAIN, "notes": (r"price: .* more than float32 tells apart",)},
    "quoted_newline.csv": PLAIN,
    "semicolon.csv": {**PLAIN, "notes": ("columns are separated by semicolons",)},
    "spark.parquet": PLAIN,
    "successes_only.csv": {
        **PLAIN,
        "outcomes": None,
        "notes": ("open_rate_successes has no open_rate_trials, so it is not a target",),
    },
    "target_pct.csv": {**PLAIN, "outcomes": None, "notes": (r"column 'ctr%' is not ctor",)},
    "timestamp.parquet": PLAIN,
    "trailing_comma_rows_only.csv": PLAIN,
    "typed.parquet": PLAIN,
    "zip.csv": {**PLAIN, "notes": (r"price: '00234' has leading zeros",)},
}

# What the messages about the others say: what is wrong, and what to do.
REFUSED = {
    "backslash.csv": r"72 bad rows.*line 2: there is no file.*separated by /, not by \\",
    "both.csv": r"open_rate has two sources.*Remove one",
    "case_path.csv": r"1 bad row of.*line 2: there is no file.*there is 'images/apple-04.png'",
    "col_candidates.csv": r"cannot be named 'candidates'.*--column campaign_candidates=candidates",
    "col_context.csv": r"cannot be named 'context'",
    "col_image.csv": r"cannot be named 'image'",
    "col_target.csv": r"cannot be named 'target'",
    "cp1252.csv": r"not UTF-8.*line 2; as Windows-1252.*“News”.*CSV UTF-8",
    "dotdot.csv": r"line 2: .*'\.\./m/images/apple-04\.png' is outside the images folder",
    "dup.parquet": r"more than one column named 'open_rate'",
    "dup_column.csv": r"more than one column named 'open_rate'",
    "dup_context.csv": r"more than one column named 'industry'",
    "dup_path.csv": r"more than one column named 'relative_im_path'",
    "fraction.csv": r"line 2: open_rate.*got '0\.23'.*open_rate_successes and open_rate_trials",
    "http_url.csv": r"is a URL: python -m training download",
    "damaged_zip.csv": r"cannot be read: expected a whole text file, got Bad CRC-32",
    "latin1.csv": r"not UTF-8.*line 3; as Windows-1252.*Möbel",
    "long_row.csv": r"1 bad row of 72.*line 73: 8 cells where the header has 6",
    "long_value.csv": r"line 2: campaign_type: expected at most 200 characters",
    "na_text.csv": r"15 bad rows.*got 'NA': leave a missing value blank",
    "name_not_utf8.parquet": r"cannot be read: expected a Parquet file",
    "nul.csv": r"1 bad row of 72.*line 3: a cell has a NUL",
    "price_huge.csv": r"1 bad row of 72.*line 5: price: expected at most 3\.4e\+38.*1e\+300",
    "too_long.csv": r"1 bad row of 72.*line 2: .*304 characters.*too long",
    "utf16.csv": r"is UTF-16.*CSV UTF-8",
}


def test_every_file_has_its_right_value():
    files = {path.name for path in FOLDER.iterdir()} - {"images"}
    assert files == READ.keys() | REFUSED.keys()


def read(file: Path):
    table = read_table(file, {})
    standard = ("campaign_type", "industry")
    context = [name for name in (*standard, *FURTHER_CONTEXT) if name in table.frame.columns]
    return check_manifest(table, FOLDER, NAMES, ManifestOptions(context=context))


@pytest.mark.parametrize("name", READ)
def test_it_is_read_and_what_trained_scores_completely(name):
    expected, manifest = READ[name], read(FOLDER / name)
    assert (len(manifest.frame), len(manifest.files)) == (expected["rows"], expected["files"])
    counted = [len(outcomes(manifest.frame, n, {}).row) for n in find_targets(manifest.frame)]
    assert counted == ([] if expected["outcomes"] is None else [expected["outcomes"]])
    assert len(manifest.notes) == len(expected["notes"]), manifest.notes
    for note, wanted in zip(manifest.notes, expected["notes"], strict=True):
        assert re.search(wanted, note), note

    columns = context_columns(manifest.frame, manifest.context, manifest.numeric)
    found = items_of_manifest(FOLDER / name, FOLDER, _Spec(columns), {})
    assert len(found.items) == expected["rows"]
    encoder = ContextEncoder(columns)
    for item in found.items:
        assert item.error is None
        assert (FOLDER / item.path).is_file()
        encoder.encode({k: v for k, v in item.context.items() if k != "product_type"})


@pytest.mark.parametrize("name", REFUSED)
def test_the_message_says_what_is_wrong_and_what_to_do(name):
    with pytest.raises(DataError) as caught:
        read(FOLDER / name)
    assert re.search(REFUSED[name], str(caught.value), re.DOTALL), str(caught.value)


def test_an_image_in_a_cell_is_refused_by_line(tmp_path):
    image = base64.b64encode(bytes(3750)).decode()
    file = tmp_path / "m.csv"
    file.write_text(f'relative_im_path\n"data:image/png;base64,{image}"\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"line 2: .*5,022 characters\) holds the image itself"):
        read(file)


class _Spec:
    """The part of a bundle's spec that rows are read by."""

    def __init__(self, columns) -> None:
        self.context = columns
        self.augmentations = augmentation_set("seed")
