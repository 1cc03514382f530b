from augrank.models.targets import TARGETS, resolve_target


def test_every_standard_target_has_a_direction():
    assert len(TARGETS) == 9
    assert resolve_target("bounce_rate").direction == "minimize"
    assert resolve_target("my_own").direction == "maximize"
    assert resolve_target("my_own", {"my_own": "minimize"}).direction == "minimize"
