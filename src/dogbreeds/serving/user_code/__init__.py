"""Models with code of their own: ``code/inference.py``, under the contract of AWS's PyTorch image.

`script` finds, fetches and loads the code, `requirements` installs what it needs, `functions` are
its functions or, where it has none, those of `defaults`, and `service` answers requests with them.
"""
