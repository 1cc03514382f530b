import jinja2
import pytest

from augrank.models.calibration import VennAbersCalibration
from augrank.models.context import NumericColumn
from export import model_card as module
from export.model_card import model_card
from export.run_reader import load_run


def test_the_model_card_shows_the_bundles_figures(tiny_export):
    card = (tiny_export.bundle / "model_card.md").read_text()
    figures = tiny_export.spec.parity["fp32"]
    assert f"| {figures.regret:.4f} | 0.0% | {figures.probability_difference:.4f} |" in card
    assert "| unsubscribe_rate | lower | 0.800 (0.750 to 0.850) | 0.600 | - | 0.770 |" in card
    assert "| unsubscribe_rate | 0.900 | - | - | - | 0.880 | - | - (-) |" in card


def test_the_whole_card(tiny_run, tiny_export):
    record, spec = load_run(tiny_run.run).record, tiny_export.spec
    price = NumericColumn(name="price", mean=2.0, std=1.0, low=0.5, high=1200.0)
    spec = spec.model_copy(update={"context": (*spec.context, price), "alternates": None})
    lines = model_card(spec, record).splitlines()
    assert lines[0] == "# tiny 1.0"
    assert "and 0 alternates from the catalogue" in lines[2]
    assert "- `campaign_type`: Newsletter, Promotional" in lines
    assert "- `price`: a number, 0.5 to 1200 in training" in lines
    assert f"Set `seed` ({spec.augmentation_hash[:12]}): original, brighter" in "".join(lines)
    assert "recognises the right one for 0.500 of held-out candidates" in "".join(lines)
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) == 2 * (2 + len(spec.heads)) + 2 + len(spec.parity)
    assert "comes with a 90 % interval" in lines[6]
    venn_abers = VennAbersCalibration(at=(0.0, 1.0), calibrated=(0.1, 0.9))
    heads = tuple(head.model_copy(update={"calibration": venn_abers}) for head in spec.heads)
    graphs = {"fp32": spec.graphs["fp32"].model_copy(update={"heads": heads})}
    calibrated = model_card(spec.model_copy(update={"graphs": graphs}), record)
    assert calibrated.count("| venn-abers |") == len(heads)
    assert "\n\n\n" not in model_card(spec, record)
    bare = spec.model_copy(update={"context": ()})
    assert "None: the heads use the image alone." in model_card(bare, record)


def test_a_misspelt_field_of_a_template_is_an_error(tiny_run, tiny_export, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "__file__", str(tmp_path / "model_card.py"))
    (tmp_path / "wrong.md.j2").write_text("{{ spec.nmae }}")
    with pytest.raises(jinja2.UndefinedError, match="nmae"):
        model_card(tiny_export.spec, load_run(tiny_run.run).record, "wrong.md.j2")
