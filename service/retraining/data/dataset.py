"""A version of the dataset: rows of pictures, which are for training or in a test set for good.

ROOT/images/ab/abcd...            the files of all versions, by sha256
ROOT/datasets/DIGEST/rows.jsonl   one row for each picture
ROOT/datasets/DIGEST/looks.npz    what each looks like, in the order of the rows
ROOT/datasets/DIGEST/train.csv    the manifest for ``python -m training fit``

A picture that is in a test set stays there, whoever sends it again, and is never trained on. There
is a common test set, and one for each advertiser with enough fixes.
"""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from augrank.contracts.manifest import PATH
from augrank.files import atomic_write

TRAIN, TEST = "train", "test"  # the common test set; that of an advertiser is test:ADVERTISER
TEST_SHARE = 0.2  # of new pictures, by their hash
BASE = "0"  # in place of a fix's id: what a label was without fixes
OWN_TEST = 25  # pictures that an advertiser corrected, from which on it has a test set


@dataclass(frozen=True, kw_only=True)
class Row:
    """A picture of the dataset.

    Attributes:
        sha256: of the file that is trained on.
        picture: sha256 of the file that was sent, which differs if it was cropped.
        set: ``train``, ``test`` or ``test:ADVERTISER``.
        labels: the right classes; a label that is missing is not known.
        fixes: of labels that come from a fix, its id.
        replaced: of labels, what else was said of them, by the fix's id or ``BASE``: it holds again
            when the fix does not any more.
        advertiser: who sent it; empty for rows of the base.
        groups: cells of columns that keep images together.
        scores: cells of columns that images are ranked by.
    """

    sha256: str
    picture: str
    set: str
    labels: Mapping[str, str]
    fixes: Mapping[str, int] = field(default_factory=dict)
    replaced: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    advertiser: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A fix that people, or the filters alone, have let into the dataset.

    Attributes:
        fix_id: the fix.
        picture: sha256 of the image.
        shows: ``picture`` of the row that shows the same, or of the first fix that does.
        file: sha256 of what is trained on, if it was cropped; else ``picture``.
        advertiser: whose it is.
        label: in question.
        value: the right class.
        second: it says what the row says already, and counts when what said so does not hold any
            more.
    """

    fix_id: int
    picture: str
    shows: str
    file: str
    advertiser: str
    label: str
    value: str
    second: bool = False


@dataclass(frozen=True)
class Extended:
    """The rows of a new version, and what was left out."""

    rows: tuple[Row, ...]  # by picture
    added: int  # pictures that are new
    pruned: int  # labels whose fix does not hold any more
    disputed: int  # labels about which fixes that were let in disagree
    withdrawn: int  # fixes that were let in, but do not hold any more


def in_test_share(key: str) -> bool:
    """Return whether a picture, or a group of them, is for testing: a matter of its name alone."""
    number = int.from_bytes(hashlib.sha256(f"test:{key}".encode()).digest()[:8])
    return number < TEST_SHARE * 2**64


def extended(rows: Sequence[Row], holding: Set[int], accepted: Sequence[Accepted]) -> Extended:
    """Return the rows of the next version. The order of what is given does not matter.

    Args:
        rows: of the version before.
        holding: ids of the fixes that hold; labels of others are removed.
        accepted: new labels, which replace those before; of those alone that hold.
    """
    standing = sorted(
        (each for each in accepted if each.fix_id in holding), key=lambda each: each.fix_id
    )
    rows, pruned = without_fixes(rows, holding)
    found = {row.picture: row for row in rows}
    before = len(found)
    answers: dict[tuple[str, str], list[Accepted]] = {}
    for each in [each for each in standing if not each.second]:
        answers.setdefault((each.shows, each.label), []).append(each)
        if each.shows not in found:
            found[each.shows] = _new_row(each)
    disputed = 0
    for (shows, label), told in answers.items():
        found[shows], agreed = _told(found[shows], label, told)
        disputed += not agreed
    for each in standing:
        if each.second and each.shows in found:
            found[each.shows] = _seconded(found[each.shows], each)
    settled = _with_own_tests(found, {row.picture for row in rows})
    withdrawn = len(accepted) - len(standing)
    return Extended(tuple(settled), len(found) - before, pruned, disputed, withdrawn)


def without_fixes(rows: Sequence[Row], holding: Set[int]) -> tuple[list[Row], int]:
    """Return rows without the labels of fixes that do not hold any more, and how many those are.

    What such a fix had replaced holds again: another fix that still does, or the base's label.
    """
    kept, pruned = list[Row](), 0
    for row in rows:
        gone = {label for label, fix in row.fixes.items() if fix not in holding}
        pruned += len(gone)
        labels = {name: value for name, value in row.labels.items() if name not in gone}
        fixes = {name: fix for name, fix in row.fixes.items() if name not in gone}
        replaced = dict[str, Mapping[str, str]]()
        for label, said in row.replaced.items():
            left = {fix: said[fix] for fix in said if fix == BASE or int(fix) in holding}
            if label not in fixes and (label in gone or len(left) < len(said)):
                left = _put_back(label, left, labels, fixes)
            if left:
                replaced[label] = left
        kept.append(replace(row, labels=labels, fixes=fixes, replaced=replaced))
    return kept, pruned


def _put_back(
    label: str, left: dict[str, str], labels: dict[str, str], fixes: dict[str, int]
) -> dict[str, str]:
    """Let the last of what was said of a label hold again; return what is left beside it.

    Where fixes that hold disagree, the label stays unknown.
    """
    if len({value for fix, value in left.items() if fix != BASE}) > 1 or not left:
        return left
    last = max(left, key=int)
    labels[label] = left[last]
    if last != BASE:
        fixes[label] = int(last)
    return {fix: value for fix, value in left.items() if fix != last}


def _new_row(first: Accepted) -> Row:
    return Row(
        sha256=first.shows,
        picture=first.shows,
        set=TEST if in_test_share(first.shows) else TRAIN,
        labels={},
        advertiser=first.advertiser,
    )


def _told(row: Row, label: str, told: Sequence[Accepted]) -> tuple[Row, bool]:
    """Return a row with a new label, and whether all agree; if not, the label is not known."""
    labels = {name: value for name, value in row.labels.items() if name != label}
    fixes = {name: fix for name, fix in row.fixes.items() if name != label}
    said = dict(row.replaced.get(label, {}))
    if label in row.labels:
        said[str(row.fixes.get(label, BASE))] = row.labels[label]
    said |= {str(each.fix_id): each.value for each in told}
    if len({each.value for each in told}) > 1:
        replaced = {**row.replaced, label: said}
        return replace(row, labels=labels, fixes=fixes, replaced=replaced), False
    labels[label], fixes[label] = told[0].value, told[0].fix_id
    del said[str(told[0].fix_id)]
    cropped = next((each.file for each in told if each.file != each.picture), None)
    file = cropped if cropped and row.set == TRAIN else row.sha256  # test pictures are frozen
    replaced = {name: each for name, each in row.replaced.items() if name != label}
    replaced |= {label: said} if said else {}
    return replace(row, sha256=file, labels=labels, fixes=fixes, replaced=replaced), True


def _seconded(row: Row, second: Accepted) -> Row:
    """Note another fix that says the same as the one that a label comes from."""
    label, fix = second.label, str(second.fix_id)
    if row.labels.get(label) != second.value or row.fixes.get(label) in (None, second.fix_id):
        return row
    said = {**row.replaced.get(label, {}), fix: second.value}
    return replace(row, replaced={**row.replaced, label: said})


def _with_own_tests(found: Mapping[str, Row], old: Set[str]) -> list[Row]:
    """Move new test pictures of advertisers with enough fixes into a test set of their own."""
    corrected = Counter(row.advertiser for row in found.values() if row.advertiser)
    return [
        replace(row, set=f"{TEST}:{row.advertiser}")
        if picture not in old and row.set == TEST and corrected[row.advertiser] >= OWN_TEST
        else row
        for picture, row in sorted(found.items())
    ]


def digest_of(rows: Iterable[Row]) -> str:
    """Return the sha256 of a version's contents, whatever the order of its rows."""
    lines = sorted(json.dumps(asdict(row), sort_keys=True) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_rows(file: Path, rows: Iterable[Row]) -> None:
    """Write rows, one on each line."""
    with atomic_write(file) as temporary:
        text = "".join(json.dumps(asdict(row), sort_keys=True) + "\n" for row in rows)
        temporary.write_text(text, encoding="utf-8")


def read_rows(file: Path) -> list[Row]:
    """Read what ``write_rows`` wrote."""
    with file.open(encoding="utf-8") as stream:
        return [Row(**json.loads(line)) for line in stream]


def file_name(sha256: str) -> str:
    """Return where the file of a row is, relative to ROOT/images."""
    return f"{sha256[:2]}/{sha256}"


def write_manifest(file: Path, rows: Sequence[Row]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write the manifest of the rows to train on; return its columns of groups and of scores."""
    train = [row for row in rows if row.set == TRAIN and row.labels]
    labels = sorted({name for row in train for name in row.labels})
    groups = tuple(sorted({name for row in train for name in row.groups}))
    scores = tuple(sorted({name for row in train for name in row.scores}))
    with (
        atomic_write(file) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([PATH, *labels, *groups, *scores])
        for row in train:
            cells = [row.labels.get(name, "") for name in labels]
            cells += [row.groups.get(name, "") for name in groups]
            cells += [row.scores.get(name, "") for name in scores]
            writer.writerow([file_name(row.sha256), *cells])
    return groups, scores


def counts_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Count the rows by set, and the classes of each label by whether they are for training."""
    sets = Counter(row.set for row in rows)
    classes: dict[str, Counter[str]] = {}
    for row in rows:
        for label, value in row.labels.items():
            part = TRAIN if row.set == TRAIN else TEST
            classes.setdefault(f"{part}: {label}", Counter())[value] += 1
    return {
        "sets": dict(sorted(sets.items())),
        "classes": {name: dict(sorted(each.items())) for name, each in sorted(classes.items())},
    }
