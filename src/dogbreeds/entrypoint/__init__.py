"""The training image's program: from SageMaker's contract to a trained model."""
