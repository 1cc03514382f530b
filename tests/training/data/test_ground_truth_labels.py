"""Labels of a Ground Truth manifest: several classes at once, and lines that lack a label."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from augrank.errors import DataError
from augrank.manifest.ground_truth_writer import (
    Annotation,
    attribute_name,
    ground_truth_line,
    write_ground_truth,
)
from augrank.manifest.problems import Problems
from augrank.manifest.read import read_table
from training.data.labels import find_labels, read_labels
from training.data.manifest.label_manifest import LabelColumns, check_label_manifest

LEGAL = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,126}")  # of CreateLabelingJob


def annotation(name: str, classes, confidence=0.91234, human=False, created="2026-11-28T10:00:00"):
    return Annotation(name, classes, confidence, human, created, "photos-1")


def told(kind: str, **wears: str) -> dict[str, Annotation]:
    """The labels of an image, as a run of a multi-label manifest names them."""
    questions = {f"wears: {each}": annotation(yes, ("no", "yes")) for each, yes in wears.items()}
    return {"kind": annotation(kind, ("back", "front")), **questions}


def labels_of(manifest):
    table = read_table(manifest, {})
    problems = Problems.of(table)
    names = find_labels(table.frame, None)
    labels = read_labels(table.frame, names, np.arange(len(table.frame)), problems, table.several)
    assert not problems.reasons
    return {each.name: [each.classes[n] for n in each.value.tolist()] for each in labels}


def test_a_multi_label_attribute_is_written_as_ground_truth_writes_it():
    labels = told("front", dress="yes", hat="no", shoes="yes")
    labels["wears: shoes"] = annotation("yes", ("no", "yes"), 0.6, True, "2026-11-29T10:00:00")
    record = json.loads(ground_truth_line("s3://bucket/a.jpg", labels))
    assert record == {
        "source-ref": "s3://bucket/a.jpg",
        "kind": 1,
        "kind-metadata": {
            "class-name": "front", "confidence": 0.9123, "human-annotated": "no",
            "creation-date": "2026-11-28T10:00:00", "job-name": "photos-1",
            "type": "groundtruth/image-classification",
        },
        "wears": [0, 2],
        "wears-metadata": {
            "class-map": {"0": "dress", "2": "shoes"}, "confidence-map": {"0": 0.9123, "2": 0.6},
            "human-annotated": "no", "creation-date": "2026-11-29T10:00:00",
            "job-name": "photos-1", "type": "groundtruth/image-classification-multilabel",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    "images",
    [
        [("yes", "no"), ("no", "no"), ("yes", "yes")],
        [("yes", "no"), ("no", "yes")],  # no image has several: the attribute's type tells
    ],
)
def test_what_is_written_is_read_again(tmp_path, images):
    file = tmp_path / "told.manifest"
    write_ground_truth(
        file,
        (
            (f"s3://bucket/{number}.jpg", told("front", dress=dress, hat=hat))
            for number, (dress, hat) in enumerate(images)
        ),
    )
    assert labels_of(file) == {
        "kind": ["front"] * len(images),
        "wears: dress": [dress for dress, _ in images],
        "wears: hat": [hat for _, hat in images],
    }
    frame = read_table(file, {}).frame
    assert frame.loc[0, ["wears_confidence", "wears_human_annotated"]].tolist() == ["0.9123", "no"]
    renamed = read_table(file, {"worn": "wears"})
    assert renamed.several == {"worn"}


NAMES = ("kind", "kind of car", "body_type", "größe", "色", "-x-", "source-ref", "a-metadata")


@pytest.mark.parametrize("label", [*NAMES, "a" * 200, "wears: dress"])
def test_names_of_attributes_are_those_that_a_job_takes(label):
    name = attribute_name(label)
    assert LEGAL.fullmatch(name)
    assert "-metadata" not in name
    assert not name.endswith("-ref")
    record = json.loads(ground_truth_line("a.jpg", {label: annotation("x", ("x", "y"))}))
    assert record["source-ref"] == "a.jpg"
    assert record[name] == 0


def test_two_labels_of_one_attribute_are_refused():
    labels = {name: annotation("x", ("x", "y")) for name in ("a b", "a-b")}
    with pytest.raises(DataError, match="'a-b' and another one are both the attribute a-b"):
        ground_truth_line("a.jpg", labels)


def test_lines_without_a_label_are_told_once_and_their_others_are_used(tmp_path):
    file = tmp_path / "told.manifest"
    both = told("front", dress="yes", hat="no")
    without = {name: label for name, label in both.items() if name != "kind"}
    lines = [
        ground_truth_line(f"s3://bucket/{number}.jpg", labels)
        for number, labels in enumerate((both, without, both, without))
    ]
    failed = json.loads(lines[2])
    failed["kind-metadata"] = {"failure-reason": "ClientError", "human-annotated": "no"}
    lines[2] = json.dumps(failed)
    file.write_text("\n".join([lines[0], "", *lines[1:], "{broken", ""]), encoding="utf-8")
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    manifest = check_label_manifest(
        read_table(file, {}), tmp_path, LabelColumns(), skip_bad_rows=True
    )
    assert [note for note in manifest.notes if "line" in note] == [
        "kind is missing or failed in 3 of 5 lines, first in line 3: not labelled"
    ]
    assert {label.name: sum(label.counts.values()) for label in manifest.labels} == {
        "kind": 1, "wears: dress": 4,
    }  # fmt: skip
    assert manifest.skipped == 1


MEMORY_SCRIPT = """
import sys
from pathlib import Path
from augrank.manifest.read import read_table

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

file = Path(sys.argv[1])
read_table(file.with_name("few.manifest"), {})
before = resident("VmRSS")
table = read_table(file, {})
print(resident("VmHWM") - before, len(table.frame))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_long_manifest_is_read_line_by_line(tmp_path):
    rows = 20_000
    line = ground_truth_line("s3://bucket/a.jpg", told("front", dress="yes", hat="no"))
    for name, count in (("few.manifest", 100), ("m.manifest", rows)):
        (tmp_path / name).write_text(f"{line}\n" * count, encoding="utf-8")
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(tmp_path / "m.manifest")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    used, read = map(int, done.stdout.split())
    assert read == rows
    assert used < 100 * rows  # a few bytes for each cell; its text alone is 450, as dicts 3,000
