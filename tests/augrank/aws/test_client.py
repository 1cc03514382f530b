"""AWS's errors in words, by the texts that AWS itself answers with."""

import pytest
from botocore.exceptions import ClientError, InvalidRegionError, TokenRetrievalError

from augrank.aws.client import RUNTIME_CONFIG, Aws, AwsError, friendly, is_missing


def refused(code: str, message: str, operation: str = "CreateEndpoint") -> AwsError:
    with pytest.raises(AwsError) as caught, friendly():
        raise ClientError({"Error": {"Code": code, "Message": message}}, operation)
    return caught.value


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ValidationException", 'Could not find endpoint "arn:aws:sagemaker:..:endpoint/shop".'),
        ("ResourceNotFound", "Amazon SageMaker can't find a tuning job called shop-1a2b3c4d."),
        ("ValidationException", "Requested resource not found: does not exist"),
    ],
)
def test_what_is_not_there_is_known_by_awss_own_words(code, message):
    assert is_missing(refused(code, message, "Describe"))


def test_other_refusals_are_no_absence_and_say_what_to_do():
    quota = refused("ResourceLimitExceeded", "The account-level service limit is 0 Instances")
    assert not is_missing(quota)
    assert "Service Quotas" in str(quota)
    assert "training job usage" in str(quota)
    role = refused("ValidationException", "Could not assume role arn:aws:iam::1:role/x")
    assert "sagemaker.amazonaws.com" in str(role)


@pytest.mark.parametrize(
    "error",
    [InvalidRegionError(region_name="eu west"),
     TokenRetrievalError(provider="sso", error_msg="expired")],
)  # fmt: skip
def test_whatever_botocore_raises_is_a_message(error):
    with pytest.raises(AwsError, match="sign in again"), friendly():
        raise error


def test_an_endpoint_is_asked_once():
    assert RUNTIME_CONFIG.retries["total_max_attempts"] == 1


def test_a_region_that_cannot_be_is_a_message():
    with pytest.raises(AwsError, match="eu west"):
        Aws("eu west").client("sagemaker")
