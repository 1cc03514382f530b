"""Labelled images are split by group, and what cannot be learned is refused."""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from augrank.errors import DataError
from tests.support.labelled_images import OPTIONS, write_labelled
from training.common.context import TrainContext
from training.config import FitConfig
from training.data.classify_dataset import (
    CALIBRATION,
    SPLIT_NAMES,
    ClassifyDataset,
    load_dataset,
    read_manifest,
)
from training.data.splits import TEST, TRAIN, VALIDATION


def load(manifest: Path, out: Path, **options) -> ClassifyDataset:
    config = FitConfig.model_validate({**OPTIONS, "manifest": manifest, "out": out, **options})
    return load_dataset(config, read_manifest(config), TrainContext())


def rewrite(manifest: Path, change) -> None:
    """Rewrite the rows of a manifest, lists of cells; those at the end may be left out."""
    with manifest.open(newline="", encoding="utf-8") as stream:
        head, *rows = csv.reader(stream)
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        changed = [row + [""] * (len(head) - len(row)) for row in change(rows)]
        csv.writer(stream).writerows([head, *changed])


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_labelled(tmp_path / "data", 90, uploads=3)


def test_an_uploader_is_never_divided_and_shares_are_of_groups(manifest, tmp_path):
    data = load(manifest, tmp_path / "run", test_share=0.2, validation_share=0.4)
    uploader = np.arange(90) // 3
    for number in range(30):
        assert len(set(data.split[uploader == number].tolist())) == 1
    counts = np.bincount(data.split) / 3
    assert counts[[TRAIN, VALIDATION, TEST, CALIBRATION]].tolist() == [12, 6, 6, 6]
    assert data.row_counts()["images"] == {
        "train": 36, "validation": 18, "test": 18, "calibration": 18,
    }  # fmt: skip
    assert SPLIT_NAMES[CALIBRATION] == "calibration"
    samples = data.samples(TRAIN)
    assert samples.label.shape == (36, 2)
    first = samples.file[0]
    assert [label.classes[n] for label, n in zip(data.labels, samples.label[0], strict=True)] == [
        label.classes[label.value[first]] for label in data.labels
    ]
    assert data.summary().startswith("90 images in 30 groups, shape (3 classes), colour (3 classes")


def test_the_same_picture_is_in_one_split_whoever_sent_it(manifest, tmp_path):
    images = manifest.parent / "images"
    shutil.copy(images / "000.png", images / "copy.png")
    picture = cv2.imread(str(images / "003.png"))
    cv2.imwrite(str(images / "again.png"), picture, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    rewrite(
        manifest,
        lambda rows: [
            *rows,
            ["images/copy.png", rows[0][1], rows[0][2], "x"],
            ["images/again.png", rows[3][1], rows[3][2], "y"],
        ],
    )
    data = load(manifest, tmp_path / "run")
    place = {data.manifest.files[file]: n for n, file in enumerate(data.files.tolist())}
    for one, other in (("000.png", "copy.png"), ("003.png", "again.png")):
        pair = [place[f"images/{name}"] for name in (one, other)]
        assert len({data.group[n] for n in pair}) == 1
        assert len({data.split[n] for n in pair}) == 1
    assert data.copies >= 2


def test_blank_labels_leave_a_row_out_of_that_label_only(manifest, tmp_path):
    rewrite(manifest, lambda rows: [[r[0], "", *r[2:]] if n % 9 == 0 else r
                                    for n, r in enumerate(rows)])  # fmt: skip
    data = load(manifest, tmp_path / "run")
    assert sum(data.labels[0].counts.values()) == 80
    assert sum(data.labels[1].counts.values()) == 90
    rows = {row["relative_im_path"]: row for row in data.catalogue()}
    assert rows["images/000.png"]["shape"] == ""
    assert rows["images/000.png"]["colour"] == "blue"


def test_the_same_bytes_with_two_labels_are_bad_rows(manifest, tmp_path):
    images = manifest.parent / "images"
    shutil.copy(images / "000.png", images / "other.png")
    rewrite(manifest, lambda rows: [*rows, ["images/other.png", "bar", rows[0][2], "x"]])
    with pytest.raises(
        DataError, match=r"shape is 'bar', but images/000.png is the same image, and is 'disc'"
    ):
        load(manifest, tmp_path / "run")
    data = load(manifest, tmp_path / "run", skip_bad_rows=True)
    assert len(data.files) == 89
    assert data.manifest.skipped == 2


def test_one_path_with_two_labels_is_left_out_as_two_files_are(manifest, tmp_path):
    rewrite(manifest, lambda rows: [*rows, [rows[0][0], "bar", *rows[0][2:]]])
    with pytest.raises(DataError, match=r"2 bad rows of 91\n.*shape is 'disc', but line 92 gives"):
        load(manifest, tmp_path / "run")
    data = load(manifest, tmp_path / "run", skip_bad_rows=True)
    assert "images/000.png" not in data.manifest.files
    assert len(data.files) == 89
    assert data.manifest.skipped == 2


def test_groups_can_be_named_or_left_out(manifest, tmp_path):
    alone = load(manifest, tmp_path / "run", group=())
    assert len(np.unique(alone.group)) > 80  # a few look alike
    by_colour = {"group": ("colour",)}
    with pytest.raises(DataError, match=r"too few groups.*got 3 groups of 90 images.*--group ''"):
        load(manifest, tmp_path / "run", **by_colour)
    with pytest.raises(DataError, match="there is no column 'uploaders' of groups"):
        load(manifest, tmp_path / "run", group=("uploaders",))


def test_a_class_that_cannot_be_learned_is_refused(manifest, tmp_path):
    rewrite(manifest, lambda rows: [["images/000.png", "cone", *rows[0][2:]], *rows[1:]])
    missing = r"shape has no image of 'cone' in the train split.*got 1 of 90 images"
    with pytest.raises(DataError, match=missing):
        load(manifest, tmp_path / "run", seed=1)
    rewrite(manifest, lambda rows: [[row[0], "disc", *row[2:]] for row in rows])
    with pytest.raises(DataError, match="shape has nothing to tell apart"):
        load(manifest, tmp_path / "run")


def test_the_split_depends_on_the_seed_alone(manifest, tmp_path):
    one, again, other = (
        load(manifest, tmp_path / f"run{n}", seed=seed) for n, seed in enumerate((0, 0, 1))
    )
    np.testing.assert_array_equal(one.split, again.split)
    assert (one.split != other.split).any()
    rewrite(manifest, lambda rows: rows[::-1])
    turned = load(manifest, tmp_path / "turned")
    np.testing.assert_array_equal(turned.split, one.split)


def test_a_picture_that_many_have_connects_nobody(manifest, tmp_path):
    """A provider's placeholder, at every dealer: its copies are one group, and theirs are not."""
    images = manifest.parent / "images"
    cv2.imwrite(str(images / "none.png"), np.full((40, 40, 3), 200, np.uint8))
    for number in range(30):
        shutil.copy(images / "none.png", images / f"none{number:02d}.png")
    rewrite(
        manifest,
        lambda rows: [
            *rows,
            *([f"images/none{n:02d}.png", "disc", "red", f"user{n}"] for n in range(30)),
        ],
    )
    data = load(manifest, tmp_path / "run")
    shared = [
        place for place, file in enumerate(data.files.tolist())
        if "none" in data.manifest.files[file]
    ]  # fmt: skip
    assert len(shared) == 30
    assert len(np.unique(data.group[shared])) == 1
    assert len(np.unique(data.split[shared])) == 1
    assert len(np.unique(data.group)) > 25


def test_three_copies_whose_labels_differ_are_all_left_out(manifest, tmp_path):
    images = manifest.parent / "images"
    for name in ("b", "c", "d"):
        shutil.copy(images / "000.png", images / f"{name}.png")
    rewrite(
        manifest,
        lambda rows: [
            ["images/000.png", "", *rows[0][2:]],
            *rows[1:],
            ["images/b.png", "disc", "blue", "x"],
            ["images/c.png", "bar", "blue", "y"],
            ["images/d.png", "disc", "blue", "z"],
        ],
    )
    data = load(manifest, tmp_path / "run", skip_bad_rows=True)
    kept = {data.manifest.files[file] for file in data.files.tolist()}
    assert "images/000.png" in kept  # says nothing of its shape
    assert not {f"images/{name}.png" for name in "bcd"} & kept


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((), "--labels does not fit: expected the names of label columns, each once, got none"),
        (("shape", "shape"), "got shape, shape"),
        (("sha256",), "a label cannot be named 'sha256'"),
    ],
)
def test_label_options_are_checked(manifest, tmp_path, labels, message):
    with pytest.raises(DataError, match=message):
        load(manifest, tmp_path / "run", labels=labels)


def test_references_are_of_every_folder(tmp_path):
    data = load(write_labelled(tmp_path / "data", 90), tmp_path / "run")
    test = data.files[data.split == TEST]
    chosen = data.reference_files(6)
    assert len(chosen) == 6
    assert chosen[0] == test[0]
    assert chosen[-1] == test[-1]
    assert set(data.reference_files(1000)) == set(test)


def test_scores_are_divided_into_classes(tmp_path):
    manifest = write_labelled(tmp_path / "data", 91)
    rewrite(manifest, lambda rows: [[r[0], str(n), *r[2:]] for n, r in enumerate(rows)])
    data = load(manifest, tmp_path / "run", labels=None, quantiles={"shape": 3})
    (label,) = data.labels
    assert label.counts == {"1": 30, "2": 30, "3": 30}
    assert "shape: 3 classes of 30 images" in data.manifest.notes[-1]
    assert "1 kept out" in data.manifest.notes[-1]
    both = load(manifest, tmp_path / "both", labels=("shape", "colour"), quantiles={"shape": 5})
    assert [len(each.classes) for each in both.labels] == [5, 3]
    with pytest.raises(DataError, match="no label column 'score'"):
        load(manifest, tmp_path / "none", quantiles={"score": 3})
    with pytest.raises(ValueError, match="expected 2 to 100 classes of shape, got 1"):
        load(manifest, tmp_path / "one", quantiles={"shape": 1})


def ranked(manifest: Path, out: Path, **options):
    return load(manifest, out, ranks=("likes",), validation_share=0.4, **options)


def test_classes_of_scores_do_not_change_their_ranks(manifest, tmp_path):
    plain = ranked(manifest, tmp_path / "a", labels=("shape",))
    both = ranked(manifest, tmp_path / "b", labels=None, quantiles={"likes": 3})
    (one,), (other,) = plain.ranks, both.ranks
    assert one.score.tolist() == other.score.tolist()
    assert one.standing.tolist() == other.standing.tolist()
    assert [len(label.classes) for label in both.labels] == [3]
    scores = [row["likes_score"] for row in both.catalogue()]
    assert len(set(scores)) > 60
    assert one.within == "uploader"


def test_samples_of_ranks_say_whose_they_are(manifest, tmp_path):
    data = ranked(manifest, tmp_path / "a", labels=("shape",))
    (rank,), train = data.ranks, data.samples(TRAIN)
    assert train.owner.tolist() == rank.owner[train.file].tolist()
    assert train.label[:, 1].tolist() == rank.place[train.file].tolist()
    assert 1 < len(set(train.owner)) < len(train)
    alike = ranked(manifest, tmp_path / "b", labels=("shape",), rank_within="")
    assert alike.samples(TRAIN).owner is None
    assert load(manifest, tmp_path / "c", labels=("shape",)).samples(TRAIN).owner is None


def test_other_scores_are_other_data(manifest, tmp_path):
    def more(rows):
        return [[*row[:-1], str(int(row[-1]) + 1)] for row in rows]

    before = ranked(manifest, tmp_path / "a", labels=None, quantiles={"likes": 3})
    rewrite(manifest, more)
    after = ranked(manifest, tmp_path / "b", labels=None, quantiles={"likes": 3})
    assert before.data != after.data  # although all classes and standings are the same


def test_a_picture_that_many_have_is_not_ranked(manifest, tmp_path):
    def copied(rows):
        for number in range(0, 60, 3):
            source = manifest.parent / rows[0][0]
            (manifest.parent / rows[number][0]).write_bytes(source.read_bytes())
            rows[number][1:3] = rows[0][1:3]
        return rows

    rewrite(manifest, copied)
    data = ranked(manifest, tmp_path / "run", labels=("shape",))
    (rank,) = data.ranks
    copies = np.arange(0, 60, 3)
    assert np.isnan(rank.score[copies]).all()
    assert np.isfinite(rank.score[np.arange(1, 60, 3)]).all()
    uploader = np.arange(90) // 3
    scored = np.isfinite(rank.score)
    for owner in np.unique(uploader):
        assert len(set(data.split[(uploader == owner) & scored].tolist())) == 1


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({}, lambda rows: [[*row[:-1], "7"] for row in rows], "compares no images in the"),
        (
            {"rank_within": ""},
            lambda rows: [[*row[:-1], "7"] for row in rows],
            "Add images with other scores.",
        ),
        ({"rank_within": "colour"}, lambda rows: rows, "--rank-within"),
    ],
)
def test_ranks_that_compare_nothing_are_refused(manifest, tmp_path, options, change, message):
    rewrite(manifest, change)
    with pytest.raises(DataError, match=message):
        ranked(manifest, tmp_path / "run", labels=("shape",), **options)
