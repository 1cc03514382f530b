import numpy as np
import pytest

from augrank.errors import BundleError
from augrank.models.head import Head, HeadRows, assemble, augmentation_probs


def test_assemble_lays_parts_in_order_and_repeats_one_context():
    logits = np.log(np.array([[0.26, 0.74], [0.9999, 0.0001]], np.float32))
    features = np.full((2, 2), 2.1, np.float32)
    rows = HeadRows(np.array([1, 0]), logits, features, np.array([7], np.float32))
    table = assemble(("context", "augmentation_probs", "features", "augmentation"), rows, 0.5)
    np.testing.assert_allclose(table, [[7, 0.25, 0.75, 2, 2, 0, 1], [7, 1, 0, 2, 2, 1, 0]])
    assert rows.levels(known=True).tolist() == [1, 0]
    assert rows.levels(known=False).tolist() == [1, 0]  # recognised from the logits


def test_augmentation_probs_are_blind_to_small_noise():
    rng = np.random.default_rng(0)
    logits = np.array([[9.0, 0.0, 1.0], [0.0, 0.62, -9.0]], np.float32)
    shares = augmentation_probs(logits)
    assert shares[0].tolist() == [1, 0, 0]
    np.testing.assert_allclose(shares[1], [0.35, 0.65, 0], atol=1e-6)
    noisy = logits + rng.normal(scale=0.01, size=(100, *logits.shape)).astype(np.float32)
    assert all((augmentation_probs(each) == shares).all() for each in noisy)
    assert np.isfinite(augmentation_probs(np.array([[1e4, -1e4]], np.float32))).all()


def test_a_head_that_does_not_fit_is_refused(tiny_export):
    spec = tiny_export.spec.heads[0]
    with pytest.raises(BundleError, match="expected 3 inputs, one output, got 522, 1"):
        Head.load(spec.model_copy(update={"width": 3}), tiny_export.bundle)
    with pytest.raises(BundleError, match=r"bundle\.json is damaged: expected the trees"):
        Head.load(spec.model_copy(update={"trees": "bundle.json"}), tiny_export.bundle)
