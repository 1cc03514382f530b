from augrank.bundle.recommend_spec import ParityFigures
from export.parity.figures import EngineConfig
from export.parity.gate import judge


def test_a_device_may_use_what_passes_on_it():
    good = ParityFigures(
        requests=9,
        regret=0.004,
        verdict_changes=0.0,
        probability_difference=0.025,
        embedding_cosine=1.0,
    )
    bad = good.model_copy(update={"regret": 0.006})
    figures = {
        EngineConfig("fp32"): good.model_copy(update={"probability_difference": 0.0}),
        EngineConfig("int8"): bad,
        EngineConfig("fp32", "openvino"): good,
        EngineConfig("int8", "openvino"): good,
    }
    result = judge(figures)
    assert set(result.rejected) == {EngineConfig("int8")}
    assert result.passed == {"cpu": ("fp32",), "openvino": ("int8", "fp32")}
    for config in list(figures)[2:]:
        figures[config] = bad
    assert judge(figures).passed == {"cpu": ("fp32",)}
