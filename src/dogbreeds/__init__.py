"""Train and serve an image classifier on Amazon SageMaker, on a GPU box or on a laptop."""

__version__ = "0.1.0"
