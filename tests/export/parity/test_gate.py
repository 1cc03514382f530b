from augrank.bundle.recommend_spec import ParityFigures
from export.parity.figures import EngineConfig
from export.parity.gate import judge


def test_openvino_takes_the_graph_that_passes_under_it():
    good = ParityFigures(
        images=9,
        max_probability_difference=0.1,
        rank_correlation=1.0,
        top1_agreement=1.0,
        embedding_cosine=1.0,
    )
    bad = good.model_copy(update={"rank_correlation": 0.9})
    figures = {
        EngineConfig("fp32"): good.model_copy(update={"max_probability_difference": 0.0}),
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
