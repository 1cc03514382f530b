import base64
import json
from dataclasses import replace

import pytest

from augrank.aws.client import AwsError
from export.sagemaker.invoke import check_smoke_answer, load_smoke_request


def test_the_smoke_request_checks_probabilities_and_recommendation(dist, recommender):
    smoke = load_smoke_request(dist)
    request = json.loads(smoke.body)
    answer = recommender.recommend(
        base64.b64decode(request["image"]), request["target"], request["context"], alternates=0
    ).model_dump(mode="json")
    check_smoke_answer(smoke, answer)
    known = smoke.answers["fp32"]
    assert known.best_candidate == answer["best_candidate"]["name"]
    wrong = next(name for name in known.probabilities if name != known.best_candidate)
    other = {**answer, "best_candidate": {"name": wrong}}
    with pytest.raises(AwsError, match=rf"recommends another candidate.* got '{wrong}'"):
        check_smoke_answer(smoke, other)
    scores = [
        {**score, "probability": score["probability"] - 0.03} for score in answer["candidates"]
    ]
    with pytest.raises(AwsError, match="does not answer the smoke request as the export did"):
        check_smoke_answer(smoke, {**answer, "candidates": scores})
    openvino = {**answer, "candidates": scores, "engine": "fp32 on OpenVINO (bf16)"}
    check_smoke_answer(smoke, openvino)  # another engine than the recorded one may differ more
    near_tie = replace(smoke, answers={"fp32": replace(known, best_candidate=None)})
    check_smoke_answer(near_tie, other)
    with pytest.raises(AwsError, match="does not answer the smoke request as the export did"):
        check_smoke_answer(smoke, {**answer, "engine": "int8 on onnxruntime"})  # it has no such
