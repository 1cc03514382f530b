"""Names of the environment variables and paths in SageMaker's training containers.

Two toolkits set the ``SM_*`` variables (the training toolkit, which tuning jobs use, and the driver
of SDK v3) and agree on those named here.
"""

HYPERPARAMETERS = "SM_HPS"  # JSON: options of ``fit``
CHANNEL_TRAINING = "SM_CHANNEL_TRAINING"  # folder of the manifest and its images
CHANNEL_WEIGHTS = "SM_CHANNEL_WEIGHTS"  # folder of the file that the option ``weights`` names
MODEL_DIR = "SM_MODEL_DIR"  # becomes model.tar.gz: the run
NUM_GPUS = "SM_NUM_GPUS"  # of one machine
HOSTS = "SM_HOSTS"  # JSON: names of all machines
CURRENT_HOST = "SM_CURRENT_HOST"
NETWORK_INTERFACE = "SM_NETWORK_INTERFACE_NAME"

# Set by ``python -m training submit``: a folder that outlives an interrupt.
CHECKPOINTS = "AUGRANK_CHECKPOINTS"
LOCAL_CHECKPOINTS = "/opt/ml/checkpoints"  # which SageMaker copies to S3
# Read by SageMaker's SDK where a job is submitted.
VALIDATE_ROLE = "SAGEMAKER_VALIDATE_ROLE"

# Hyperparameters that the toolkits add.
TOOLKIT_PREFIXES = ("sagemaker_", "_tuning_objective_metric")
