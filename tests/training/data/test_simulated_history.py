import pandas as pd
import pytest
from typer.testing import CliRunner

from augrank.errors import DataError
from augrank.images.augmentations import augmentation_set
from augrank.manifest.read import read_table
from augrank.models.targets import TARGETS
from simulation.engagement import CAMPAIGN_TYPES, INDUSTRIES, SimulationOptions
from training.cli.app import app
from training.data.simulated_history import write_history

NAMES = augmentation_set("seed").names


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_history_keeps_attributes_and_paths(catalogue, suffix):
    manifest = catalogue(5)
    out = manifest.parent / f"history.{suffix}"
    made = write_history(
        read_table(manifest, {}), manifest.parent, out, NAMES, SimulationOptions(sends=2, seed=1)
    )
    assert (made.originals, made.rows, made.skipped) == (5, 60, 0)
    frame = read_table(out, {}).frame
    assert frame.groupby("relative_im_path").size().tolist() == [12] * 5
    assert frame.groupby("augmentation").size().to_dict() == dict.fromkeys(sorted(NAMES), 10)
    assert set(frame["product_type"]) == {"disc", "box", "bar"}
    assert frame["year"][0] == "2000"
    for target in TARGETS:
        assert set(frame[target]) <= {"0", "1"}
        assert set(frame[f"{target}_probability"]) == {"0.2", "0.8"}
    again = write_history(
        read_table(out, {}), manifest.parent, out, NAMES, SimulationOptions(sends=2, seed=1)
    )
    assert again.rows == 60
    pd.testing.assert_frame_equal(read_table(out, {}).frame, frame, check_like=True)


def test_history_of_a_catalogue_with_the_documents_columns(catalogue):
    manifest = catalogue(3)
    frame = pd.read_csv(manifest).rename(columns={"relative_im_path": "Relative_im_path"})
    frame.to_csv(manifest, index=False)
    out = manifest.parent / "history.csv"
    made = write_history(
        read_table(manifest, {}), manifest.parent, out, NAMES, SimulationOptions(seed=1)
    )
    assert made.notes == ("column 'Relative_im_path' is read as relative_im_path",)
    written = read_table(out, {})
    assert written.notes == ()
    assert set(written.frame["campaign_type"]) <= set(CAMPAIGN_TYPES)
    assert set(written.frame["industry"]) <= set(INDUSTRIES)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            ["simulate", "--manifest", "none.csv", "--out", "new/history.csv"],
            "there is no manifest",
        ),
        (["render", "--kind", "car", "--count", "1", "--size", "16", "--out", "new"], "64 to 1024"),
        (["download", "none.txt", "--out", "new"], "there is no file"),
        (["tune", "--manifest", "none.csv", "--out", "new"], "there is no manifest"),
    ],
)
def test_a_refused_command_leaves_no_folder(tmp_path, monkeypatch, words, why):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert why in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["history.xlsx", "history.tsv", "history"])
def test_a_history_of_another_format_is_refused(catalogue, name):
    manifest = catalogue(3)
    with pytest.raises(DataError, match=r"expected a name that ends in \.csv or \.parquet"):
        write_history(
            read_table(manifest, {}), manifest.parent, manifest.parent / name, NAMES,
            SimulationOptions(),
        )  # fmt: skip
