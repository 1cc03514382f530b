from pathlib import Path

import pytest

from augrank.cli.options import pairs
from augrank.errors import BadRequest, DataError
from training.config import FitConfig, load_config, split_names


def test_a_file_gives_options_and_the_command_line_overrides_them(tmp_path):
    (tmp_path / "fit.yaml").write_text(
        "manifest: m.csv\nout: runs/a\nimage-size: 96\nepochs: 3\ntargets: open_rate, bounce_rate\n"
        "columns: {relative_im_path: photo}\nflip: false\n"
    )
    config = load_config(tmp_path / "fit.yaml", {"epochs": 5, "seed": None})
    assert (config.image_size, config.epochs, config.seed) == (96, 5, 0)
    assert config.targets == ("open_rate", "bounce_rate")
    assert config.columns == {"relative_im_path": "photo"}
    assert config.flip is False
    (tmp_path / "fit.toml").write_text('manifest = "m.csv"\nout = "runs/a"\nbatch_size = 32\n')
    assert load_config(tmp_path / "fit.toml", {}).batch_size == 32


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("manifest: m.csv\nout: r\nepoch: 3\n", "did you mean epochs"),
        ("manifest: m.csv\nout: r\nepochs: 0\n", r"^epochs in .*fit\.yaml does not fit"),
        ("manifest: m.csv\nout: r\nimage-size: 9\n", r"^image-size in .*fit\.yaml does not"),
        ("manifest: m.csv\nout: r\nbackbone: resnet51\n", r"^backbone in .*does not fit"),
        ("manifest: m.csv\n", "out is missing: *.*--out|out is missing"),
        ("out: r\n", "expected manifest"),
        ("manifest: m.csv\nout: r\ntest_share: 0.6\nvalidation_share: 0.5\n", "leave images"),
        (
            "images: i\nout: r\nimage_size: 64\nprogressive: 96\n",
            r"^--progressive must not exceed --image-size \(64\)",
        ),
        ("images: i\nout: r\nfreeze: true\n", "^--freeze needs trained weights.*give --weights"),
        ("images: i\nout: r\nbatch_size: 4\naccumulate: 3\n", "^--batch-size must be at least two"),
        ("[1, 2]", "options by name"),
        ("a: [", "neither valid YAML nor valid TOML"),
    ],
)
def test_what_does_not_fit_is_explained(tmp_path, text, why):
    (tmp_path / "fit.yaml").write_text(text)
    with pytest.raises(DataError, match=why):
        load_config(tmp_path / "fit.yaml", {})


def test_a_missing_file_is_explained(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_config(tmp_path / "none.yaml", {})


def test_lists_and_pairs_of_the_command_line():
    assert split_names(" a, b,") == ("a", "b")
    assert pairs(["a=b", "c=d=e"], "--column") == {"a": "b", "c": "d=e"}
    assert pairs(None, "--column") == {}
    with pytest.raises(BadRequest, match=r"--column does not fit: expected NAME=VALUE, got 'a'"):
        pairs(["a"], "--column")


@pytest.mark.parametrize("size", [96, 100, 150, 224])
def test_images_grow_to_the_size_that_is_served(size):
    config = FitConfig(images=Path("i"), out=Path("r"), image_size=size, progressive=64, epochs=9)
    sides = [config.side(epoch) for epoch in range(1, 10)]
    assert sides == sorted(sides)
    assert (sides[0], sides[6:]) == (64, [size] * 3)


def test_paths_and_threads_are_not_decisive():
    one = FitConfig(manifest=Path("a.csv"), out=Path("r"), threads=2)
    two = FitConfig(manifest=Path("/x/a.csv"), out=Path("s"), threads=8)
    assert one.decisive() == two.decisive()
    assert one.decisive() != FitConfig(manifest=Path("a.csv"), out=Path("r"), seed=1).decisive()


def test_a_number_out_of_range_says_the_range():
    with pytest.raises(
        DataError, match=r"--epochs does not fit: expected greater than or equal to 1"
    ):
        load_config(None, {"manifest": "m.csv", "out": "r", "epochs": 0})
