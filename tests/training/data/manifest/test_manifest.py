"""Manifests: columns, bad rows, pairs of counts, context and fingerprints."""

import csv
import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from augrank.errors import DataError
from augrank.manifest.problems import format_rows, write_bad_rows
from augrank.manifest.read import read_table
from tests.training.data.manifest.manifests import NAMES, read
from training.data.manifest.context import context_columns, encode_context, find_context
from training.data.manifest.manifest import ManifestOptions, attribute_columns, check_manifest
from training.data.manifest.rows import fingerprint
from training.data.manifest.targets import TargetOutcomes, find_targets, outcomes


def test_bad_rows_are_listed_with_line_number_and_reason(folder):
    text = """relative_im_path,augmentation,open_rate,campaign_type,spend
images/000.png,original,1,Newsletter,1.5
,original,1,Newsletter,2
images/none.png,original,1,Newsletter,2
../secret.png,original,1,Newsletter,2
/etc/passwd,original,1,Newsletter,2

images/001.png,brightr,1,Newsletter,2
images/001.png,brighter,2,Newsletter,2
images/001.png,brighter,0,Newsletter,nan
images/001.png,brighter,0,Newsletter,
images/001.png,brighter,,Newsletter,3
"""
    with pytest.raises(DataError) as caught:
        read(folder, text, context=("campaign_type", "spend"))
    lines = str(caught.value).splitlines()
    assert "8 bad rows of 10" in lines[0]
    assert lines[1] == "  line 3: relative_im_path is blank"
    assert "line 4: there is no file 'images/none.png'" in lines[2]
    assert "line 5: relative_im_path '../secret.png' is outside the images folder" in lines[3]
    assert "line 6: relative_im_path '/etc/passwd' is an absolute path, outside" in lines[4]
    assert "line 8: augmentation 'brightr'" in lines[5]
    assert "did you mean brighter" in lines[5]
    assert lines[6] == "  line 9: open_rate: expected 0, 1 or blank, got '2'"
    assert "line 10: spend: expected a finite number" in lines[7]
    assert "line 11: spend" in lines[8]
    assert "--skip-bad-rows" in lines[-1]


def test_bad_rows_can_be_skipped(folder):
    text = "relative_im_path,open_rate\nimages/000.png,1\nimages/x.png,1\nimages/001.png,0\n"
    manifest = read(folder, text, skip_bad_rows=True)
    assert manifest.skipped == 1
    assert manifest.files == ("images/000.png", "images/001.png")
    assert manifest.lines.tolist() == [2, 4]
    (bad,) = manifest.left_out
    assert bad.line == 3
    assert bad.reason.startswith("there is no file 'images/x.png' in ")


def test_rows_of_files_that_do_not_decode_are_left_out_in_order_of_their_lines(folder):
    text = "relative_im_path\nimages/000.png\nimages/001.png\nno.png\nimages/000.png\n"
    manifest = read(folder, text, skip_bad_rows=True).without({0: "it is torn"}, skip=True)
    assert [bad.line for bad in manifest.left_out] == [2, 4, 5]
    assert (
        manifest.left_out[0].reason == manifest.left_out[2].reason == "images/000.png: it is torn"
    )
    assert (manifest.skipped, manifest.lines.tolist()) == (3, [3])
    write_bad_rows(folder / "skipped.csv", manifest.unit, manifest.left_out)
    with (folder / "skipped.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["line", "reason"]
    assert rows[1] == ["2", "images/000.png: it is torn"]
    assert [row[0] for row in rows[1:]] == ["2", "4", "5"]
    assert format_rows(manifest.left_out, "line", 1).splitlines() == [
        "  line 2: images/000.png: it is torn", "  ... and 2 more"]  # fmt: skip
    write_bad_rows(folder / "skipped.csv", manifest.unit, ())
    assert not (folder / "skipped.csv").exists()


def test_only_ten_bad_rows_are_shown(folder):
    text = "relative_im_path\nimages/000.png\n" + "no.png\n" * 25
    with pytest.raises(DataError, match=r"25 bad rows[\s\S]*and 15 more"):
        read(folder, text)


def test_all_bad_stops_even_when_skipping(folder):
    with pytest.raises(DataError, match="1 bad row of 1"):
        read(folder, "relative_im_path\nno.png\n", skip_bad_rows=True)


def test_columns_are_mapped_and_a_wrong_name_is_explained(folder):
    text = "photo,opened\nimages/000.png,1\n./images/001.png,0\n"
    manifest = read(folder, text, {"relative_im_path": "photo", "open_rate": "opened"})
    assert manifest.files == ("images/000.png", "images/001.png")
    assert find_targets(manifest.frame) == ("open_rate",)
    with pytest.raises(DataError, match="did you mean photo"):
        read(folder, text, {"relative_im_path": "photos"})
    with pytest.raises(DataError, match="no column relative_im_path"):
        read(folder, text)


def test_a_pair_becomes_two_weighted_rows(folder):
    text = (
        "relative_im_path,refunds_successes,refunds_trials,refunds_probability\n"
        "images/000.png,3,10,0.3\nimages/001.png,0,5,0.1\nimages/002.png,,,\nimages/003.png,2,2,1\n"
    )
    result = outcomes(read(folder, text).frame, "refunds", {"refunds": "minimize"})
    assert result.target.direction == "minimize"
    assert result.row.tolist() == [0, 0, 1, 3]
    assert result.label.tolist() == [1, 0, 0, 1]
    assert result.weight.tolist() == [3, 7, 5, 2]
    assert result.truth.tolist() == [0.3, 0.3, 0.1, 1.0]


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ("4,3", "at most open_rate_trials"),
        ("1,", "open_rate_trials: expected a whole number"),
        (",3", "open_rate_successes: expected a whole number"),
        ("1.5,3", "expected a whole number"),
        ("-1,3", "expected a whole number"),
    ],
)
def test_a_pair_that_does_not_fit_is_a_bad_row(folder, cells, why):
    text = f"relative_im_path,open_rate_successes,open_rate_trials\nimages/000.png,{cells}\n"
    with pytest.raises(DataError, match=why):
        read(folder, text)


def test_blank_targets_are_left_out_of_that_target_alone(folder):
    text = "relative_im_path,open_rate,bounce_rate\nimages/000.png,,1\nimages/001.png,0,\n"
    manifest = read(folder, text)
    assert outcomes(manifest.frame, "open_rate", {}).row.tolist() == [1]
    assert outcomes(manifest.frame, "bounce_rate", {}).row.tolist() == [0]
    assert outcomes(manifest.frame, "bounce_rate", {}).truth is None


def test_originals_are_augmented_here_and_other_files_are_not(folder):
    text = (
        "relative_im_path,augmentation,original\n"
        "images/000.png,,\n"
        "images/000.png,rotate,\n"
        "images/000.png,sketch,images/000.png\n"
        "images/001.png,rotate,images/000.png\n"
    )
    manifest = read(folder, text)
    assert manifest.originals == ("images/000.png",)
    assert manifest.file.tolist() == [0, 0, 0, 1]
    assert [NAMES[n] for n in manifest.label] == ["original", "rotate", "sketch", "rotate"]
    assert [NAMES[n] for n in manifest.applied] == ["original", "rotate", "sketch", "original"]


def test_contradictions_about_originals_are_bad_rows(folder):
    text = (
        "relative_im_path,augmentation,original\n"
        "images/001.png,rotate,images/000.png\n"
        "images/001.png,rotate,images/002.png\n"
        "images/003.png,,images/002.png\n"
    )
    with pytest.raises(DataError) as caught:
        read(folder, text)
    assert "line 3: an earlier row gives the same file another original" in str(caught.value)
    assert "line 4: original names another image" in str(caught.value)


def test_context_is_described_and_encoded_by_the_runtime(folder):
    text = (
        "relative_im_path,campaign_type,spend\n"
        "images/000.png,Survey,2\nimages/001.png,Newsletter,3.5\nimages/002.png,Survey,2\n"
    )
    manifest = read(folder, text, context=("campaign_type", "spend"))
    columns = context_columns(manifest.frame, ("campaign_type", "spend"), {"spend"})
    assert columns[0].values == ("Newsletter", "Survey")
    assert (columns[1].low, columns[1].high) == (2.0, 3.5)
    contexts, row = encode_context(manifest.frame, columns)
    np.testing.assert_array_equal(contexts[row], [[0, 1, 2], [1, 0, 3.5], [0, 1, 2]])
    assert len(contexts) == 2


def test_context_defaults_and_unknown_names(folder):
    frame = pd.DataFrame({"industry": ["a"], "campaign_type": ["b"], "x": ["1"]})
    assert find_context(frame) == ("campaign_type", "industry")
    with pytest.raises(DataError, match="did you mean campaign_type"):
        find_context(frame, ("campain_type",))
    with pytest.raises(DataError, match="did you mean open_rate"):
        find_targets(pd.DataFrame({"open_rate": ["1"]}), ("open_rat",))


def test_attributes_are_what_is_constant_within_an_original(folder):
    text = (
        "relative_im_path,augmentation,campaign_type,product_type,slot,open_rate\n"
        "images/000.png,original,Survey,disc,1,1\n"
        "images/000.png,rotate,Survey,disc,2,1\n"
        "images/001.png,rotate,Survey,box,2,1\n"
    )
    assert attribute_columns(read(folder, text)) == ("product_type",)


def test_parquet_gives_the_same_as_csv(folder):
    frame = pd.DataFrame(
        {
            "relative_im_path": ["images/000.png", "images/001.png"],
            "open_rate": [1.0, np.nan],
            "bounce_rate": [True, False],
        }
    )
    frame.to_parquet(folder / "m.parquet")
    manifest = check_manifest(read_table(folder / "m.parquet", {}), folder, NAMES)
    assert manifest.frame["open_rate"].tolist() == ["1", ""]
    assert outcomes(manifest.frame, "bounce_rate", {}).label.tolist() == [1, 0]
    frame["open_rate"] = [3, 1]
    frame.to_parquet(folder / "m.parquet")
    with pytest.raises(DataError, match=r"row 1: open_rate: expected 0, 1 or blank, got '3'"):
        check_manifest(read_table(folder / "m.parquet", {}), folder, NAMES)


def test_an_image_folder_needs_no_manifest(folder):
    (folder / "images" / "sandal").mkdir()
    shutil.copy(folder / "images" / "000.png", folder / "images" / "sandal" / "a.png")
    table = read_table(folder / "images", {})
    assert table.frame["relative_im_path"].tolist()[-1] == "sandal/a.png"
    (folder / "images" / ".000.17.part.png").write_bytes(b"half")
    assert len(read_table(folder / "images", {}).frame) == 13
    assert table.frame["product_type"].tolist() == [*[""] * 12, "sandal"]
    manifest = check_manifest(table, folder / "images", NAMES)
    assert len(manifest.originals) == 13
    assert find_targets(manifest.frame) == ()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"relative_im_path\n", "no rows"),
        (b"\xff\xfe\x00", "is UTF-16"),
    ],
)
def test_files_that_are_not_manifests(tmp_path, content, why):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(DataError, match=why):
        read_table(tmp_path / "m.csv", {})


def test_missing_manifest(tmp_path):
    with pytest.raises(DataError, match="there is no manifest"):
        read_table(tmp_path / "none.csv", {})


def test_fingerprint_follows_rows_and_images(folder):
    one = read(folder, "relative_im_path,open_rate\nimages/000.png,1\n")
    two = read(folder, "relative_im_path,open_rate\nimages/000.png,0\n")
    assert fingerprint(one, ["a"]) == fingerprint(one, ["a"])
    assert len({fingerprint(one, ["a"]), fingerprint(two, ["a"]), fingerprint(one, ["b"])}) == 3


def test_spellings_of_a_product_type_are_one_type(folder):
    rows = "relative_im_path,product_type,open_rate\n" + "".join(
        f"images/00{number}.png,{kind},1\n"
        for number, kind in enumerate(["Running Shoe", "running-shoe", "Running Shoe", "Boot"])
    )
    manifest = read(folder, rows)
    assert list(manifest.frame["product_type"]) == ["Running Shoe"] * 3 + ["Boot"]
    assert manifest.notes == ("product_type: read 'running-shoe' as 'Running Shoe'",)


def test_the_fingerprint_is_of_the_values_whatever_their_codes(folder):
    rows = {"relative_im_path": [f"images/{n:03d}.png" for n in (3, 1, 1, 2)],
            "open_rate": ["1", "", "0", "1"], "colour": ["blue", "red", "red", ""]}  # fmt: skip
    frame = pd.DataFrame(rows)
    frame.to_csv(folder / "m.csv", index=False)
    coded = frame.assign(colour=pd.Categorical(frame["colour"], ["red", "green", "", "blue"]))
    coded.to_parquet(folder / "m.parquet", index=False)
    names = ("m.csv", "m.parquet")
    read = [check_manifest(read_table(folder / name, {}), folder, NAMES) for name in names]
    found = [fingerprint(manifest, ("a", "b")) for manifest in read]
    text = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    digest = hashlib.sha256("\x1f".join(rows).encode() + text.tobytes() + b"a\nb")
    assert found == [digest.hexdigest()] * 2
    changed = read[0].frame.assign(colour=read[0].frame["colour"].cat.rename_categories(str.upper))
    assert fingerprint(replace(read[0], frame=changed), ("a", "b")) != found[0]


def test_every_bad_row_is_told_with_its_own_cell(folder):
    rows = [("1", "5"), ("50%", "6"), ("x", "six"), ("50%", "7"), ("", "8"), ("x", "inf")]
    text = "relative_im_path,open_rate,spend\n"
    text += "".join(f"images/000.png,{rate},{spend}\n" for rate, spend in rows)
    (folder / "m.csv").write_text(text)
    options = ManifestOptions(context=("spend",), skip_bad_rows=True)
    manifest = check_manifest(read_table(folder / "m.csv", {}), folder, NAMES, options)
    wrong = "open_rate: expected 0, 1 or blank, got"
    rate = ": for a rate, give counts in open_rate_successes and open_rate_trials"
    assert [(row.line, row.reason) for row in manifest.left_out] == [
        (3, f"{wrong} '50%'{rate}"),
        (4, f"{wrong} 'x'"),
        (5, f"{wrong} '50%'{rate}"),
        (7, f"{wrong} 'x'"),
    ]
    assert manifest.frame["open_rate"].tolist() == ["1", ""]
    assert context_columns(manifest.frame, ("spend",), {"spend"})[0].high == 8


def test_outcomes_are_collected_when_they_are_asked_for(folder):
    text = "relative_im_path,open_rate,bounce\nimages/000.png,1,\nimages/001.png,0,1\n"
    found = TargetOutcomes(read(folder, text).frame, ("open_rate", "bounce"), {})
    assert len(found) == 2
    assert [each.label.tolist() for each in found] == [[1, 0], [1]]
    assert [each.weight.tolist() for each in found] == [[1, 1], [1]]
    assert found[1].target.direction == "minimize"
    assert not TargetOutcomes(read(folder, text).frame, (), {})
