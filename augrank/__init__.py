"""augrank: predict which version of an image would do better, and by how much.

The runtime package. Model servers load the modules that ``serving/model_folder.py`` lists; the rest
starts servers, scores catalogues and talks to AWS. No module needs torch, and importing it has
no side effects.

    from augrank import Recommender
    answer = Recommender.load("dist/bundle").recommend("car.jpg", target="open_rate")
"""

from typing import TYPE_CHECKING, Any

from augrank.errors import AugrankError

if TYPE_CHECKING:
    from augrank.tasks.recommend.pipeline import Recommender
    from augrank.tasks.recommend.response import Answer

__version__ = "0.1.0"
__all__ = ["Answer", "AugrankError", "Recommender", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the public classes on first use, so that training can import single submodules."""
    if name == "Recommender":
        from augrank.tasks.recommend.pipeline import Recommender

        return Recommender
    if name == "Answer":
        from augrank.tasks.recommend.response import Answer

        return Answer
    raise AttributeError(f"module 'augrank' has no attribute {name!r}")
