from augrank.bundle.recommend_spec import ParityFigures
from export.parity.figures import EngineConfig
from export.parity.gate import judge


def test_openvino_takes_the_graph_that_passes_under_it():
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
    assert result.fastest("cpu") == "fp32"
    assert result.fastest("openvino") == "int8"
    for config in list(figures)[2:]:
        figures[config] = bad
    assert judge(figures).fastest("openvino") is None
