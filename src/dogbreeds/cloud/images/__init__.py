"""The images in ECR."""
