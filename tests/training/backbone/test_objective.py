"""The loss of several questions, whose answers may be missing."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from training.backbone.objective import Objective
from training.data.ranks import SPAN, STEPS

LOGITS = torch.tensor([[2.0, 0, 0, 1, -1], [0, 1, 0, 0, 3], [0, 0, 4, 2, 2]])
LABELS = torch.tensor([[0, 1], [2, -1], [2, 0]])  # the second image has no answer to the second


def test_the_loss_is_the_sum_of_the_questions_and_ignores_missing_answers():
    loss = Objective((3, 2)).loss(LOGITS, LABELS)
    first = cross_entropy(LOGITS[:, :3], LABELS[:, 0], reduction="sum")
    second = cross_entropy(LOGITS[[0, 2], 3:], LABELS[[0, 2], 1], reduction="sum")
    assert loss.item() == pytest.approx((first + second).item() / 3)


def test_one_question_is_plain_cross_entropy():
    label = LABELS[:, 0]
    assert Objective((5,)).loss(LOGITS, label).item() == pytest.approx(
        cross_entropy(LOGITS, label).item()
    )


def test_figures_count_answers():
    loss, right, answers = Objective((3, 2)).figures(LOGITS, LABELS).tolist()
    assert (right, answers) == (3, 5)  # images 0 and 2 of the first question, 2 of the second
    expected = cross_entropy(LOGITS[:, :3], LABELS[:, 0], reduction="sum")
    expected += cross_entropy(LOGITS[[0, 2], 3:], LABELS[[0, 2], 1], reduction="sum")
    assert loss == pytest.approx(expected.item())


def test_balanced_classes_weigh_the_same_together():
    label = np.array([0] * 6 + [1] * 2 + [-1] * 3)
    made = Objective.of_labels((3,), label, "balanced", 0.1)
    (weights,) = made.weights
    assert weights.tolist() == pytest.approx([8 / 2 / 6, 8 / 2 / 2, 0])
    assert weights[0] * 6 == pytest.approx(weights[1] * 2)
    assert Objective.of_labels((3,), label, "none", 0.1).weights is None
    labelled = torch.from_numpy(label[:8])
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    expected = cross_entropy(logits, labelled, weights, reduction="sum", label_smoothing=0.1)
    assert made.loss(logits, labelled).item() == pytest.approx(expected.item() / 8)
    # Its figures are plain: those of two runs can be compared.
    assert made.figures(logits, labelled)[0].item() == pytest.approx(
        cross_entropy(logits, labelled, reduction="sum").item()
    )


def test_a_batch_without_answers_has_no_loss():
    nothing = torch.full((3, 2), -1)
    assert Objective((3, 2)).loss(LOGITS, nothing).item() == 0
    assert Objective((3, 2), smoothing=0.1).loss(LOGITS, nothing).item() == 0


def test_a_question_with_one_logit_ranks_the_images_of_a_batch():
    score = torch.tensor([[0.0], [2.0], [1.0], [9.0]])
    standing = torch.tensor([0, 10, 20, -1])  # the last image has none
    pairs = torch.tensor([2.0, 1.0, -1.0])  # (1, 0), (2, 0), and (2, 1), which is the wrong way
    expected = torch.nn.functional.softplus(-pairs).mean()
    assert Objective((1,)).loss(score, standing).item() == pytest.approx(3 * expected.item() / 4)
    loss, right, answers = Objective((1,)).figures(score, standing).tolist()
    assert (loss, right, answers) == (
        pytest.approx(3 * expected.item()), pytest.approx(3 * 2 / 3), 3
    )  # fmt: skip
    alone = torch.tensor([5, -1, -1, -1])
    assert Objective((1,)).figures(score, alone).tolist() == [0, 0, 0]
    assert Objective((1,)).loss(score, alone).item() == 0


def test_every_image_counts_the_same_however_many_its_owner_has():
    score = torch.tensor([[0.0], [1.0], [2.0], [3.0], [5.0]])
    many = torch.tensor([0, 1, 2])  # three images: three pairs
    few = SPAN + torch.tensor([STEPS, 0])  # two: one pair, the wrong way
    loss, right, answers = Objective((1,)).figures(score, torch.cat([many, few])).tolist()
    assert (right, answers) == (3, 5)
    pairs = torch.tensor([1.0, 2.0, 1.0])
    expected = torch.nn.functional.softplus(-pairs).sum() + 2 * torch.nn.functional.softplus(
        torch.tensor(2.0)
    )
    assert loss == pytest.approx(expected.item())


def test_images_of_two_owners_are_not_compared():
    score = torch.tensor([[0.0], [2.0], [1.0], [9.0]])
    place = torch.tensor([0, STEPS, SPAN, SPAN + STEPS])  # the first two are of another owner
    pairs = torch.tensor([2.0, 8.0])
    expected = torch.nn.functional.softplus(-pairs).mean()
    loss, right, answers = Objective((1,)).figures(score, place).tolist()
    assert (loss, right, answers) == (pytest.approx(4 * expected.item()), 4, 4)
    strangers = torch.tensor([0, SPAN + STEPS, -1, -1])
    assert Objective((1,)).figures(score, strangers).tolist() == [0, 0, 0]


def test_ranks_stand_beside_labels_and_have_no_class_weights():
    logits = torch.cat([LOGITS[:, :3], torch.tensor([[1.0], [0.0], [2.0]])], dim=1)
    label = np.array([[0, 5], [2, 0], [2, 9000]])
    made = Objective.of_labels((3, 1), label, "balanced", 0.0)
    assert [len(each) for each in made.weights] == [3, 1]
    alone = Objective((3,), made.weights[:1]).loss(logits[:, :3], torch.from_numpy(label[:, 0]))
    ranked = Objective((1,)).loss(logits[:, 3:], torch.from_numpy(label[:, 1]))
    both = made.loss(logits, torch.from_numpy(label))
    assert both.item() == pytest.approx(alone.item() + ranked.item())
