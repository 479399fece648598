"""The report of training jobs: one page that holds all it shows.

Written at the end of each training, and by ``dogbreeds report`` over one job or several. It reads
only files of ``output/data`` and imports no torch.
"""
