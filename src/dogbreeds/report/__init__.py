"""The report of training jobs: one self-contained page.

Each job writes it at its end, and ``dogbreeds report`` for one or several jobs. It reads only
files of ``output/data`` and imports no torch.
"""
