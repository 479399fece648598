"""The output of a training job, and how to read it."""
