"""Every label has a plot of its own."""

from training.run.classify_report import plot_labels


def test_labels_that_differ_in_signs_or_case_alone_have_files_of_their_own(tmp_path):
    label = {"accuracy": 0.75, "images": 4, "per_class": {"no": {}, "yes": {}},
             "confusion": [[2, 0], [1, 1]]}  # fmt: skip
    names = ("a b", "a-b", "A b", "a-b-2", "wears: dress", "цвет", "форма")
    plot_labels(tmp_path, dict.fromkeys(names, label))
    assert {file.name for file in tmp_path.iterdir()} == {
        "confusion-a-b.png",
        "confusion-a-b-2.png",
        "confusion-A-b-3.png",
        "confusion-a-b-2-2.png",
        "confusion-wears--dress.png",
        "confusion-цвет.png",
        "confusion-форма.png",
    }
    assert all(file.read_bytes()[1:4] == b"PNG" for file in tmp_path.iterdir())
