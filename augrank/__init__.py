"""augrank: predict which version of an image would do better, and by how much.

The runtime package. Model servers load the modules that ``serving/model_folder.py`` lists; the rest
starts servers, scores catalogues and talks to AWS. No module needs torch. Importing it has one
side effect: libraries that would report to their makers are told not to.

    from augrank import Recommender
    answer = Recommender.load("dist/bundle").recommend("car.jpg", target="open_rate")
"""

import os
from typing import TYPE_CHECKING, Any

from augrank.errors import AugrankError

# Read by libraries when they are imported, which is later than this. onnxruntime would write a
# device id below the home folder, and look up a host; the others would send reports.
for _name, _value in {
    "ORT_DISABLE_TELEMETRY": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_USAGE_DISABLED": "1",  # it would query Prometheus forever
    "BENTOML_DO_NOT_TRACK": "True",
}.items():
    os.environ.setdefault(_name, _value)

if TYPE_CHECKING:
    from augrank.tasks.classify.pipeline import Classifier
    from augrank.tasks.recommend.pipeline import Recommender
    from augrank.tasks.recommend.response import Answer

__version__ = "0.1.0"
__all__ = ["Answer", "AugrankError", "Classifier", "Recommender", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the public classes on first use, so that training can import single submodules."""
    if name == "Recommender":
        from augrank.tasks.recommend.pipeline import Recommender

        return Recommender
    if name == "Classifier":
        from augrank.tasks.classify.pipeline import Classifier

        return Classifier
    if name == "Answer":
        from augrank.tasks.recommend.response import Answer

        return Answer
    raise AttributeError(f"module 'augrank' has no attribute {name!r}")
