# The bucket, roles, repositories and alarms' topic that dogbreeds works with. The policies are those
# of ../*.json. Alarms of an endpoint are made by `dogbreeds deploy`, which tells them to the topic.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "bucket" {
  description = "Name of the bucket for photos, models and answers; it is made"
  type        = string
}

variable "kms_key" {
  description = "Id of a KMS key in this account and region that jobs may use; empty for none"
  type        = string
  default     = ""
}

variable "vpc" {
  description = "Whether jobs and endpoints run in a VPC"
  type        = bool
  default     = false
}

variable "alarm_email" {
  description = "Who is told of an endpoint's alarms; empty for nobody"
  type        = string
  default     = ""
}

data "aws_caller_identity" "here" {}

data "aws_region" "here" {}

locals {
  roles  = { job = "job-role.json", endpoint = "endpoint-role.json" }
  policy = { for name in concat(values(local.roles), ["network.json", "kms.json", "trust.json"]) : name => replace(replace(replace(replace(file("${path.module}/../${name}"), "ACCOUNT", data.aws_caller_identity.here.account_id), "REGION", data.aws_region.here.name), "BUCKET", var.bucket), "/KEY", "/${var.kms_key}") }
  tags   = { "dogbreeds:project" = "dogbreeds" }
}

resource "aws_s3_bucket" "data" {
  bucket = var.bucket
  tags   = local.tags
}

resource "aws_s3_bucket_public_access_block" "data" {
  bucket                  = aws_s3_bucket.data.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "data" {
  bucket = aws_s3_bucket.data.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key == "" ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key == "" ? null : var.kms_key
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "data" {
  bucket = aws_s3_bucket.data.id
  rule {
    id     = "requests-of-asynchronous-endpoints"
    status = "Enabled"
    filter {
      prefix = "dogbreeds/async/"
    }
    expiration {
      days = 30
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

resource "aws_iam_role" "role" {
  for_each           = local.roles
  name               = "dogbreeds-${each.key}"
  assume_role_policy = local.policy["trust.json"]
  tags               = local.tags
}

resource "aws_iam_role_policy" "role" {
  for_each = local.roles
  name     = "dogbreeds"
  role     = aws_iam_role.role[each.key].id
  policy   = local.policy[each.value]
}

resource "aws_iam_role_policy" "network" {
  for_each = var.vpc ? local.roles : {}
  name     = "network"
  role     = aws_iam_role.role[each.key].id
  policy   = local.policy["network.json"]
}

resource "aws_iam_role_policy" "kms" {
  for_each = var.kms_key == "" ? {} : local.roles
  name     = "kms"
  role     = aws_iam_role.role[each.key].id
  policy   = local.policy["kms.json"]
}

# Scanned, immutable and with the images that `images.keep` keeps, as `dogbreeds push` makes them.
resource "aws_ecr_repository" "image" {
  for_each             = toset(["dogbreeds-training", "dogbreeds-serving"])
  name                 = each.key
  image_tag_mutability = "IMMUTABLE"
  tags                 = local.tags
  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "image" {
  for_each   = aws_ecr_repository.image
  repository = each.value.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "keep the last 50 images"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 50 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_sns_topic" "alarms" {
  name = "dogbreeds-alarms"
  tags = local.tags
}

resource "aws_sns_topic_subscription" "alarms" {
  count     = var.alarm_email == "" ? 0 : 1
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

# A job that fails is not an endpoint's alarm: SageMaker's own events tell of it.
resource "aws_cloudwatch_event_rule" "failed_jobs" {
  name = "dogbreeds-failed-jobs"
  event_pattern = jsonencode({
    source        = ["aws.sagemaker"]
    "detail-type" = ["SageMaker Training Job State Change"]
    detail        = { TrainingJobStatus = ["Failed"], TrainingJobName = [{ prefix = "dogbreeds" }] }
  })
  tags = local.tags
}

resource "aws_cloudwatch_event_target" "failed_jobs" {
  rule = aws_cloudwatch_event_rule.failed_jobs.name
  arn  = aws_sns_topic.alarms.arn
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = ["cloudwatch.amazonaws.com", "events.amazonaws.com"] }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.alarms.arn
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.here.account_id } }
    }]
  })
}

output "settings" {
  description = "What to write into dogbreeds.toml"
  value = join("\n", [
    "[aws]",
    "region = \"${data.aws_region.here.name}\"",
    "role = \"${aws_iam_role.role["job"].arn}\"",
    "endpoint_role = \"${aws_iam_role.role["endpoint"].arn}\"",
    "bucket = \"${aws_s3_bucket.data.id}\"",
    "",
    "[training]",
    "data = \"s3://${aws_s3_bucket.data.id}/photos\"",
    "",
    "[endpoint]",
    "alarm_topic = \"${aws_sns_topic.alarms.arn}\"",
  ])
}
