"""Manifests as SageMaker Ground Truth writes them, with the forms of AWS's documentation."""

import json

import pytest

from augrank.errors import DataError
from augrank.manifest.ground_truth import is_ground_truth
from augrank.manifest.read import read_table

KIND = {
    "class-name": "product",
    "confidence": 0.93,
    "human-annotated": "yes",
    "creation-date": "2018-10-18T22:18:13.527256",
    "job-name": "labeling-job/kinds",
    "type": "groundtruth/image-classification",
}
TAGS = {
    "class-map": {"0": "logo", "1": "person", "2": "wheel"},
    "confidence-map": {"0": 0.9, "2": 0.4},
    "human-annotated": "no",
    "type": "groundtruth/image-classification-multilabel",
}


def line(name: str, **attributes) -> dict:
    return {"source-ref": f"s3://shop/photos/{name}", **attributes}


def written(folder, *records):
    file = folder / "output.manifest"
    rows = [each if isinstance(each, str) else json.dumps(each) for each in records]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def test_labels_become_columns(tmp_path):
    file = written(
        tmp_path,
        line("a.jpg", kind=1, **{"kind-metadata": KIND}),
        line("sub/b.jpg", kind="0", **{"kind-metadata": {**KIND, "class-name": "style"}}),
        line("c.jpg"),
    )
    table = read_table(file, {})
    assert table.frame.to_dict("list") == {
        "relative_im_path": ["a.jpg", "sub/b.jpg", "c.jpg"],
        "kind": ["product", "style", ""],
        "kind_confidence": ["0.93", "0.93", ""],
        "kind_human_annotated": ["yes", "yes", ""],
    }
    assert table.lines.tolist() == [1, 2, 3]
    assert table.notes == ("its paths are relative to s3://shop/photos/",)
    assert not table.bad


@pytest.mark.parametrize(
    ("value", "names", "confidence"),
    [([0, 2], "logo|wheel", "0.4"), ("[0]", "logo", "0.9"), ([1], "person", ""), ([], "|", "")],
)
def test_several_labels_of_an_image_are_joined(tmp_path, value, names, confidence):
    file = written(tmp_path, line("a.jpg", tags=value, **{"tags-metadata": TAGS}))
    frame = read_table(file, {}).frame
    assert frame.loc[0, ["tags", "tags_confidence", "tags_human_annotated"]].tolist() == [
        names, confidence, "no"]  # fmt: skip


def test_a_label_that_failed_is_blank(tmp_path):
    failed = {"failure-reason": "ClientError", "human-annotated": "no"}
    file = written(
        tmp_path,
        line("a.jpg", kind=0, **{"kind-metadata": failed}),
        line("b.jpg", kind=1, **{"kind-metadata": KIND}),
    )
    assert read_table(file, {}).frame["kind"].tolist() == ["", "product"]


def test_bad_lines_are_told_by_number(tmp_path):
    file = written(
        tmp_path,
        line("a.jpg", kind=1, **{"kind-metadata": KIND}),
        "",
        "{broken",
        "[1]",
        {"kind": 1, "kind-metadata": KIND},
        line("e.jpg", kind=1, **{"kind-metadata": {"type": KIND["type"]}}),
        line("f.jpg", tags=[7], **{"tags-metadata": TAGS}),
    )
    table = read_table(file, {})
    assert table.lines.tolist() == [1, 3, 4, 5, 6, 7]
    reasons = {int(table.lines[row]): why for row, why in table.bad.items()}
    assert set(reasons) == {3, 4, 5, 6, 7}
    assert reasons[3].startswith("not JSON: ")
    assert reasons[4] == "expected a JSON object, got list"
    assert reasons[5] == "no source-ref"
    assert reasons[6] == "kind cannot be read: 'class-name'"
    assert reasons[7] == "tags cannot be read: '7'"


def test_half_of_a_character_is_a_bad_line(tmp_path):
    """JSON can escape one, which no UTF-8 text can contain."""
    records = [
        {"source-ref": "s3://one/a.jpg", "kind": 1, "kind-metadata": KIND},
        {"source-ref": "s3://one/\ud800.jpg", "kind": 1, "kind-metadata": KIND},
    ]
    table = read_table(written(tmp_path, *records), {})
    assert table.bad == {1: "half of a character (a surrogate without the other)"}


def test_images_of_different_buckets_keep_their_paths(tmp_path):
    records = [
        {"source-ref": "s3://one/a.jpg", "kind": 1, "kind-metadata": KIND},
        {"source-ref": "s3://two/a.jpg", "kind": 1, "kind-metadata": KIND},
    ]
    paths = read_table(written(tmp_path, *records), {}).frame["relative_im_path"]
    assert paths.tolist() == ["one/a.jpg", "two/a.jpg"]


def test_what_is_no_labelling_job_is_told(tmp_path):
    file = written(tmp_path, line("a.jpg", note="x"))
    with pytest.raises(
        DataError, match=r"has no labels: expected .*-metadata.*got note, source-ref"
    ):
        read_table(file, {})
    (tmp_path / "plain.csv").write_text("relative_im_path\na.jpg\n")
    assert not is_ground_truth(tmp_path / "plain.csv")
    file.write_bytes(b'{"source-ref": "s3://shop/\xff.jpg"}')
    with pytest.raises(DataError, match="cannot be read: expected JSON lines in UTF-8"):
        read_table(file, {})


def test_a_byte_order_mark_and_crlf_are_no_matter(tmp_path):
    file = tmp_path / "output.manifest"
    text = json.dumps(line("a.jpg", kind=1, **{"kind-metadata": KIND}))
    file.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n")
    assert read_table(file, {}).frame["kind"].tolist() == ["product"]
