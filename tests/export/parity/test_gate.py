import pytest

from augrank.bundle.graphs import Way
from augrank.bundle.recommend_spec import ParityFigures
from augrank.contracts.run import GraphRecord
from export.parity import ways
from export.parity.figures import ParityError
from export.parity.gate import missed_tolerances

GOOD = ParityFigures(
    requests=9,
    regret=0.004,
    verdict_changes=0.0,
    probability_difference=0.025,
    embedding_cosine=1.0,
)
EXACT = GOOD.model_copy(update={"probability_difference": 0.0})
BAD = GOOD.model_copy(update={"regret": 0.006})
FP32, INT8 = Way("fp32", "cpu"), Way("int8", "cpu")
FP32_OPENVINO, INT8_OPENVINO = Way("fp32", "openvino"), Way("int8", "openvino")


def graphs(embedded_by: str, *shortfalls: str) -> dict[str, GraphRecord]:
    fp32 = GraphRecord(file="a", reference="b", device="torch")
    int8 = GraphRecord(file="a", reference="b", device=embedded_by, shortfalls=shortfalls)
    return {"fp32": fp32, "int8": int8}


def judge(
    figures: dict[Way, ParityFigures], of_run: dict[str, GraphRecord]
) -> ways.GateResult[ParityFigures]:
    return ways.judge(figures, missed_tolerances(figures, of_run), of_run)


def test_a_device_may_use_what_passes_on_it():
    figures = {FP32: EXACT, INT8: BAD, FP32_OPENVINO: GOOD, INT8_OPENVINO: EXACT}
    result = judge(figures, graphs("openvino"))
    assert set(result.rejected) == {INT8}
    assert result.passed == {"cpu": ("fp32",), "openvino": ("int8", "fp32")}
    figures[FP32_OPENVINO] = BAD
    assert judge(figures, graphs("openvino")).passed == {"cpu": ("fp32",), "openvino": ("int8",)}


@pytest.mark.parametrize(
    ("way", "embedded_by", "left_out"),
    [(FP32, "openvino", False), (INT8, "cpu", True), (INT8_OPENVINO, "openvino", True)],
)
def test_a_graph_that_answers_otherwise_than_in_training_is_an_error(way, embedded_by, left_out):
    """On the device of its training a graph differs only by a fault, so GOOD is not good enough."""
    figures = {FP32: EXACT, INT8: EXACT, INT8_OPENVINO: EXACT, way: GOOD}
    with pytest.raises(ParityError, match=f"{way.label} does not answer as the run") as error:
        judge(figures, graphs(embedded_by))
    assert ("--no-int8 leaves it out" in str(error.value)) == left_out


def test_a_graph_that_training_found_worse_is_never_chosen():
    figures = {FP32: EXACT, INT8: EXACT, FP32_OPENVINO: GOOD, INT8_OPENVINO: EXACT}
    result = judge(figures, graphs("openvino", "regret 0.1 higher"))
    assert result.passed == {"cpu": ("fp32",), "openvino": ("fp32",)}
    assert result.rejected[INT8] == ["training found it worse than fp32: regret 0.1 higher"]
