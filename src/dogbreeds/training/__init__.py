"""The training job: what `train` runs on SageMaker, in `docker run` and on the host."""
