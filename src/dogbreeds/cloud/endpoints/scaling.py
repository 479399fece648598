"""Autoscaling of endpoints by load, down to zero instances for asynchronous ones."""

from typing import Any

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud
from dogbreeds.cloud.endpoints.config import MAIN, endpoint_name

_SERVICE = "sagemaker"
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"


def scale(cloud: Cloud) -> None:
    """Register autoscaling as the settings say, or remove it."""
    endpoint = cloud.settings.endpoint
    name = endpoint_name(cloud.settings)
    if endpoint.kind == "serverless":
        return
    client = cloud.client("application-autoscaling")
    target = {
        "ServiceNamespace": _SERVICE,
        "ResourceId": f"endpoint/{name}/variant/{MAIN}",
        "ScalableDimension": _DIMENSION,
    }
    if not endpoint.max_instances:
        remove(cloud, name)
        return
    least = 0 if endpoint.scale_to_zero else endpoint.instance_count
    client.register_scalable_target(**target, MinCapacity=least, MaxCapacity=endpoint.max_instances)
    if endpoint.kind == "async":
        backlog = {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": name}],
            "Statistic": "Average",
        }
        metric: dict[str, Any] = {"CustomizedMetricSpecification": backlog}
        if endpoint.scale_to_zero:
            _wake(cloud, client, name, target)
    else:
        load = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
        metric = {"PredefinedMetricSpecification": load}
    client.put_scaling_policy(
        **target,
        PolicyName=f"{name}-load",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": float(endpoint.requests_per_instance),
            "ScaleInCooldown": 300,
            "ScaleOutCooldown": 60,
            **metric,
        },
    )


def _wake(cloud: Cloud, client: Any, name: str, target: dict[str, str]) -> None:  # noqa: ANN401
    """Start an instance when a request waits and there is none, unlike target tracking."""
    policy = client.put_scaling_policy(
        **target,
        PolicyName=f"{name}-wake",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "MetricAggregationType": "Average",
            "Cooldown": 300,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
    )
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{name}-wake",
        Namespace="AWS/SageMaker",
        MetricName="HasBacklogWithoutCapacity",
        Dimensions=[{"Name": "EndpointName", "Value": name}],
        Statistic="Average",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="missing",
        AlarmActions=[policy["PolicyARN"]] if "PolicyARN" in policy else [],  # none in a dry run
        Tags=naming.tags(cloud.settings),
    )


def remove(cloud: Cloud, name: str) -> None:
    """Remove the scaling of an endpoint's variants, if there is any."""
    client = cloud.client("application-autoscaling")
    found = client.describe_scalable_targets(
        ServiceNamespace=_SERVICE, ResourceIds=[f"endpoint/{name}/variant/{MAIN}"]
    )
    for target in found.get("ScalableTargets", []):
        client.deregister_scalable_target(
            ServiceNamespace=_SERVICE,
            ResourceId=target["ResourceId"],
            ScalableDimension=target["ScalableDimension"],
        )
