"""Models with code of their own: ``code/inference.py``, under the contract of AWS's PyTorch image.

`script` finds and loads it, `service` answers requests by its `functions`.
"""
