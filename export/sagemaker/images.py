"""AWS's own container images, by region and instance type."""

import os

from augrank.errors import BadRequest

# The last PyTorch inference image that contains TorchServe.
SERVING_VERSION, SERVING_PYTHON = "2.6.0", "py312"


def serving_image(region: str, instance_type: str) -> str:
    """Return AWS's PyTorch inference image for an instance type's processors.

    Raises:
        BadRequest: AWS has none.
    """
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")
    from sagemaker.core import image_uris

    try:
        uri: str = image_uris.retrieve(
            "pytorch",
            region,
            version=SERVING_VERSION,
            py_version=SERVING_PYTHON,
            image_scope="inference",
            instance_type=instance_type,
        )
    except ValueError as error:
        raise BadRequest(
            f"AWS has no image for {instance_type} in {region}: {error}",
            expected="a type such as ml.c7i.large, and a region such as eu-west-1",
        ) from error
    return uri
