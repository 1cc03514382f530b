"""Performance targets of training."""

from benchmarks.common.targets import PerformanceTarget

NEIGHBOURS = (
    PerformanceTarget(
        "beside_busy_core_over_alone", "training beside one busy core ÷ alone", 0.45, 0.55
    ),
    PerformanceTarget(
        "two_side_by_side_over_alone", "two trainings at once, both together ÷ one", 0.9, 1.0
    ),
)
RATIOS = (
    PerformanceTarget("real_over_synthetic", "real images, warm ÷ synthetic tensors", 0.95, 0.98),
    PerformanceTarget("loader_cold_over_imagefolder", "loader alone ÷ ImageFolder, cold", 2.0, 3.5),
    PerformanceTarget(
        "loader_warm_over_imagefolder", "loader alone ÷ ImageFolder, warm", 6.0, 15.0
    ),
    PerformanceTarget("run_over_naive", "whole run ÷ the plain script", 1.8, 2.5),
    PerformanceTarget(
        "two_processes_over_one", "two processes ÷ one, a core and a batch each", 1.7, 1.9
    ),
    *NEIGHBOURS,
    PerformanceTarget(
        "embed_over_eager",
        "embeddings with the int8 graph ÷ eager float32",
        3.0,
        4.0,
    ),
)
# In addition to the ratio with one batch per process.
SHARED_BATCH = PerformanceTarget(
    "shared_over_one",
    "two processes that share one batch ÷ one",
    1.7,
    1.9,
    "Half a batch keeps a core less busy, and gradients are exchanged as often for half the work.",
)
# Speed must not cost accuracy.
ACCURACY = PerformanceTarget(
    "accuracy_minus_naive", "test accuracy, augrank − the plain script", -0.01, 0.0
)

# On an H100, in bfloat16, by backbone.
H100_SIZE_PX = 224
H100 = (
    PerformanceTarget("resnet50", "ResNet-50, 224 px, synthetic, images per second", 2800, 4000),
    PerformanceTarget("resnet34", "ResNet-34, 224 px, synthetic, images per second", 4600, 6600),
    PerformanceTarget("resnet18", "ResNet-18, 224 px, synthetic, images per second", 8000, 11400),
)
H100_JOB = PerformanceTarget(
    "job", "the first experiments' job, warm, seconds", 90, 50, less_is_better=True
)
