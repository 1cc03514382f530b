"""What the training benchmark's figures are held against."""

from typing import NamedTuple


class Target(NamedTuple):
    """A figure and its bars."""

    name: str  # in results.json
    words: str
    least: float
    aim: float
    tried: str = ""  # where it is missed


RATIOS = (
    Target("real_over_synthetic", "real images, warm ÷ synthetic tensors", 0.95, 0.98),
    Target("loader_cold_over_imagefolder", "loader alone ÷ ImageFolder, cold", 2.0, 3.5),
    Target("loader_warm_over_imagefolder", "loader alone ÷ ImageFolder, warm", 6.0, 15.0),
    Target("run_over_naive", "whole run ÷ the plain script", 1.5, 2.5),
    Target("two_processes_over_one", "two processes ÷ one, a core and a batch each", 1.7, 1.9),
    Target(
        "embed_over_eager",
        "embeddings ÷ eager float32",
        3.0,
        4.0,
        "On AVX-512 bfloat16 has twice float32's rate, which bounds this; AMX, where it has more, "
        "passes. int8 would be faster, but moves features by a tenth (cosines of the parity "
        "tables), further than the rounding that heads see.",
    ),
)
# Beside the ratio of as many batches as processes.
SHARED = Target(
    "shared_over_one", "two processes that share one batch ÷ one", 1.7, 1.9,
    "Half a batch keeps a core less busy, and gradients are exchanged as often for half the work.",
)  # fmt: skip
# So that speed never hides a loss.
ACCURACY = Target("accuracy_minus_naive", "test accuracy, ours − the plain script's", -0.01, 0.0)

# On an H100, in bfloat16.
H100_SIZE = 224
H100 = (
    Target("resnet50", "ResNet-50, 224 px, synthetic, images a second", 2800, 4000),
    Target("resnet34", "ResNet-34, 224 px, synthetic, images a second", 4600, 6600),
    Target("resnet18", "ResNet-18, 224 px, synthetic, images a second", 8000, 11400),
)
H100_JOB = Target("job", "the seeds' job, warm, seconds", 90, 50)
