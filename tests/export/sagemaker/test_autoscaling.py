"""An update keeps the number of instances and autoscaling, wherever it is interrupted."""

import boto3
import pytest

from augrank.aws.client import Aws, AwsError
from export.sagemaker.autoscaling import SAVED_FILE, ScalingLimits, autoscale, scalable_target
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.release import folder_of
from export.sagemaker.rollout import deploy, update
from tests.support.sagemaker.region import BUCKET, Interrupted, everything, interrupt

pytestmark = pytest.mark.slow


@pytest.fixture
def shop(local, release) -> Endpoint:
    """An endpoint that was deployed with one instance and then scaled to three."""
    endpoint = Endpoint(Aws(), "shop")
    (variant,) = deploy(endpoint, release(0))["ProductionVariants"]
    name = variant["VariantName"]
    autoscale(endpoint, ScalingLimits(2, 5, 500.0))
    client, target = boto3.client("application-autoscaling"), scalable_target("shop", name)
    dimensions = [{"Name": "VariantName", "Value": name}, {"Name": "EndpointName", "Value": "shop"}]
    metric = {
        "MetricName": "CPUUtilization",
        "Namespace": "/aws/sagemaker/Endpoints",
        "Dimensions": dimensions,
        "Statistic": "Average",
    }
    client.put_scaling_policy(
        **target,
        PolicyName="by-cpu",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 60.0,
            "CustomizedMetricSpecification": metric,
        },
    )
    client.put_scheduled_action(
        **target,
        ScheduledActionName="morning",
        Schedule="cron(0 7 * * ? *)",
        ScalableTargetAction={"MinCapacity": 4},
    )
    set_instances(name, 3)
    return endpoint


def set_instances(variant: str, count: int) -> None:
    """Set the number of instances as autoscaling or a console user would."""
    boto3.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="shop",
        DesiredWeightsAndCapacities=[
            {"VariantName": variant, "DesiredInstanceCount": count, "DesiredWeight": 1.0}
        ],
    )


def deployed(endpoint: Endpoint) -> dict:
    """Return the serving variants' instances and autoscaling, without their names."""
    found = {}
    client = boto3.client("application-autoscaling")
    for variant in endpoint.existing_state()["ProductionVariants"]:
        name = variant["VariantName"]
        which = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": scalable_target("shop", name)["ResourceId"],
        }
        targets = client.describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=[which["ResourceId"]]
        )["ScalableTargets"]
        policies = client.describe_scaling_policies(**which)["ScalingPolicies"]
        actions = client.describe_scheduled_actions(**which)["ScheduledActions"]
        found[name] = {
            "instances": variant["DesiredInstanceCount"],
            "limits": [(t["MinCapacity"], t["MaxCapacity"]) for t in targets],
            "policies": [
                str(p["TargetTrackingScalingPolicyConfiguration"]).replace(name, "VARIANT")
                for p in policies
            ],
            "actions": [(a["ScheduledActionName"], a["ScalableTargetAction"]) for a in actions],
        }
    return found


def test_an_update_keeps_instances_and_autoscaling(shop, release):
    ((_, before),) = deployed(shop).items()
    assert before["instances"] == 3
    assert (before["limits"], len(before["policies"]), len(before["actions"])) == ([(2, 5)], 2, 1)
    new = release(1)
    update(shop, new)
    assert deployed(shop) == {new.variant["VariantName"]: before}
    assert "VARIANT" in before["policies"][1]
    left = everything()
    assert left["scaling"] == [new.variant["VariantName"]]
    assert not [key for key in left["objects"] if SAVED_FILE in key]
    update(shop, release(1))  # again: nothing changes
    assert deployed(shop) == {new.variant["VariantName"]: before}


def test_only_the_number_of_instances_or_their_type_changes(shop, release, local):
    ((name, before),) = deployed(shop).items()
    local.invoked.clear()
    update(shop, release(0, instances=4))
    assert deployed(shop) == {name: {**before, "instances": 4}}
    assert len(local.invoked) == 1  # of the same variant, there is nothing to try
    larger = release(0, instance_type="ml.c5.xlarge")
    update(shop, larger)
    assert deployed(shop) == {larger.variant["VariantName"]: {**before, "instances": 4}}
    assert [v["InstanceType"] for v in local.config("shop").production_variants] == ["ml.c5.xlarge"]


@pytest.mark.parametrize("fails", ["without traffic", "with traffic"])
def test_a_rollback_restores_everything(shop, release, local, right, wrong, fails):
    before, made = deployed(shop), everything()
    bad = release(1).model.parameters["ModelName"]

    def container(model, _body, _headers):
        times = local.invoked.count(bad)
        good = model != bad or (fails == "with traffic" and times == 1)
        return 200, right if good else wrong

    local.container = container
    with pytest.raises(
        AwsError, match="serves again" if fails == "with traffic" else "kept serving"
    ):
        update(shop, release(1))
    assert deployed(shop) == before
    assert everything()["models"] == made["models"]
    assert everything()["scaling"] == made["scaling"]


def interrupted_at_every_moment(monkeypatch, endpoint, release):
    """Yield the number of each update: a new release each time, interrupted one request later."""
    for moment in range(100):
        with monkeypatch.context() as patch:
            interrupt(patch, moment)
            try:
                update(endpoint, release(moment + 1))
            except Interrupted:
                yield moment + 1
                continue
        assert moment > 10  # so many requests change something
        return


def test_interrupted_at_any_moment_the_next_update_finishes(shop, release, local, monkeypatch):
    ((_, before),) = deployed(shop).items()
    for number in interrupted_at_every_moment(monkeypatch, shop, release):
        assert local.serving("shop", None)
        update(shop, release(number))
        assert deployed(shop) == {release(number).variant["VariantName"]: before}, number
        left = everything()
        assert len(left["models"]) == len(left["configs"]) == len(left["scaling"]) == 1, number
        assert not [key for key in left["objects"] if SAVED_FILE in key], number


def test_interrupted_at_any_moment_another_release_may_follow(shop, release, monkeypatch):
    ((_, before),) = deployed(shop).items()
    for number in interrupted_at_every_moment(monkeypatch, shop, release):
        other = release(1000 + number)
        update(shop, other)
        assert deployed(shop) == {other.variant["VariantName"]: before}, number
        left = everything()
        assert len(left["models"]) == len(left["configs"]) == len(left["scaling"]) == 1, number


def test_interrupted_at_any_moment_the_next_may_fail_and_go_back(
    shop, release, local, right, wrong, monkeypatch
):
    ((_, before),) = deployed(shop).items()
    for number in interrupted_at_every_moment(monkeypatch, shop, release):
        bad = release(1000 + number).model.parameters["ModelName"]
        local.container = lambda model, *_, bad=bad: (200, wrong if model == bad else right)
        with pytest.raises(AwsError, match="Rolled back"):
            update(shop, release(1000 + number))
        ((_, after),) = deployed(shop).items()
        assert after == before, number
        assert len(everything()["scaling"]) == 1, number


def test_autoscaling_of_an_endpoint_that_is_gone_is_not_given_to_the_next(shop, release):
    folder_of("shop", BUCKET).write(shop.aws, SAVED_FILE, b"left")
    boto3.client("application-autoscaling").deregister_scalable_target(
        **scalable_target("shop", *deployed(shop))
    )
    boto3.client("sagemaker").delete_endpoint(EndpointName="shop")
    deploy(shop, release(0))
    update(shop, release(1))
    ((_, after),) = deployed(shop).items()
    assert after["limits"] == []
