"""AWS errors: code, meaning and remedy, tested with the texts that AWS sends."""

import pytest
from botocore.exceptions import ClientError, InvalidRegionError, TokenRetrievalError
from botocore.stub import Stubber

from augrank.aws.client import RUNTIME_CONFIG, Aws, AwsError, Call, aws_errors


def refused(code: str, message: str, operation: str = "CreateEndpoint") -> AwsError:
    with pytest.raises(AwsError) as caught, aws_errors():
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
def test_a_missing_resource_is_recognised_by_code_and_operation(code, message):
    error = refused(code, message, "DescribeEndpoint")
    assert error.is_not_found
    assert (error.aws_code, error.operation) == (code, "DescribeEndpoint")


@pytest.mark.parametrize(
    ("code", "operation"),
    [("ValidationException", "CreateEndpoint"), ("AccessDeniedException", "DescribeEndpoint")],
)
def test_the_text_alone_makes_no_resource_missing(code, operation):
    assert not refused(code, "Could not find endpoint: does not exist", operation).is_not_found


def test_other_errors_do_not_mean_missing_and_give_a_remedy():
    quota = refused("ResourceLimitExceeded", "The account-level service limit is 0 Instances")
    assert not quota.is_not_found
    assert "Service Quotas" in str(quota)
    assert "training job usage" in str(quota)
    role = refused("ValidationException", "Could not assume role arn:aws:iam::1:role/x")
    assert "sagemaker.amazonaws.com" in str(role)
    passed = refused("AccessDeniedException", "not authorized to perform: iam:PassRole on x")
    assert "needs iam:PassRole" in str(passed)
    assert "A permission is missing" in str(refused("AccessDenied", "no"))


@pytest.mark.parametrize(
    "error",
    [
        InvalidRegionError(region_name="eu west"),
        TokenRetrievalError(provider="sso", error_msg="expired"),
    ],
)
def test_whatever_botocore_raises_is_a_message(error):
    with pytest.raises(AwsError, match="sign in again") as caught, aws_errors():
        raise error
    assert caught.value.aws_code == ""


def test_an_endpoint_is_asked_once():
    assert RUNTIME_CONFIG.retries["total_max_attempts"] == 1


def test_an_invalid_region_is_a_message():
    with pytest.raises(AwsError, match="eu west"):
        Aws("eu west").client("sagemaker")


def test_a_misspelt_service_is_an_error_and_no_client():
    with pytest.raises(AttributeError):
        Aws("us-east-1").sagemakr  # noqa: B018
    with pytest.raises(AwsError, match="sagemakr"):
        Aws("us-east-1").client("sagemakr")


@pytest.mark.parametrize("exists", [True, False])
def test_describing_tells_an_existing_resource_from_a_wrong_parameter(exists):
    """AWS sends ValidationException for both; the error's text is not parsed."""
    aws = Aws("us-east-1")
    call = Call(
        "sagemaker",
        "create_endpoint_config",
        {
            "EndpointConfigName": "shop",
            "ProductionVariants": [{"VariantName": "a", "ModelName": "m"}],
        },
    )
    name = {"EndpointConfigName": "shop"}
    with Stubber(aws.client("sagemaker")) as stub:
        stub.add_client_error("create_endpoint_config", "ValidationException", "text of AWS")
        if exists:
            described = {
                **name,
                "EndpointConfigArn": "arn:aws:sagemaker:config/shop",
                "ProductionVariants": call.parameters["ProductionVariants"],
                "CreationTime": 0,
            }
            stub.add_response("describe_endpoint_config", described, name)
            assert aws.create(call) is False
        else:
            stub.add_client_error("describe_endpoint_config", "ValidationException", "not there")
            with pytest.raises(AwsError, match="text of AWS"):
                aws.create(call)
        stub.assert_no_pending_responses()


def test_other_errors_of_a_create_request_are_raised_at_once():
    aws = Aws("us-east-1")
    with Stubber(aws.client("sagemaker")) as stub:
        stub.add_client_error("create_model", "ResourceLimitExceeded", "0 models")
        with pytest.raises(AwsError, match="Service Quotas"):
            aws.create(Call("sagemaker", "create_model", {"ModelName": "a"}))


def test_the_region_is_that_of_any_of_awss_tools(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(AwsError, match="no AWS region"):
        Aws()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert Aws().region == "us-east-1"
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert (Aws().region, Aws("us-west-2").region) == ("eu-west-1", "us-west-2")
