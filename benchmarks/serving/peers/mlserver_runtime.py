"""augrank's runtime behind MLServer: a custom runtime of the Open Inference Protocol (V2)."""

import json

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving.peers import runtime


class RecommendRuntime(MLModel):
    """One BYTES tensor holding a JSON text in, one out."""

    async def load(self) -> bool:
        """Load once in each worker."""
        self.recommender = runtime.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the answer's JSON text."""
        (text,) = StringCodec.decode_input(payload.inputs[0])
        answer = runtime.answer(self.recommender, json.loads(text))
        output = StringCodec.encode_output("answer", [answer])
        return InferenceResponse(model_name=self.name, outputs=[output])
