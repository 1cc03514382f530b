from training.run.epoch import Epoch, TrainingHistory


def epoch(number: int, accuracy: float, loss: float) -> Epoch:
    return Epoch(number, 1.0, 0.5, accuracy, loss, 0.1, 100.0, 1.0)


def test_the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss():
    history, best = TrainingHistory(), []
    for number, figures in enumerate([(0.5, 1.0), (0.4, 0.5), (0.5, 0.9), (0.5, 0.9), (0.6, 2.0)]):
        history = history.with_epoch(epoch(number + 1, *figures))
        best.append(history.best)
    assert best == [1, 1, 3, 3, 5]
    assert len(history) == 5
    assert history.best_epoch.validation_accuracy == 0.6
