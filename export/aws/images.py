"""AWS's own container images, by region and instance type."""

import os

# The last of the PyTorch inference images that holds TorchServe.
SERVING_VERSION, SERVING_PYTHON = "2.6.0", "py312"


def serving_image(region: str, instance_type: str) -> str:
    """AWS's PyTorch inference image for an instance type's processors."""
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")
    from sagemaker.core import image_uris

    uri: str = image_uris.retrieve(
        "pytorch", region, version=SERVING_VERSION, py_version=SERVING_PYTHON,
        image_scope="inference", instance_type=instance_type,
    )  # fmt: skip
    return uri
