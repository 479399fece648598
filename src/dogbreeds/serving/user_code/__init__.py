"""Models with code of their own: ``code/inference.py``, as for AWS's PyTorch image."""
