"""matplotlib's `Figure`, without matplotlib's font cache in the home folder.

The import takes a second, so do it where a figure is drawn.
"""

import os
import tempfile

_FOLDER_ENV = "MPLCONFIGDIR"
_given = os.environ.get(_FOLDER_ENV)
with tempfile.TemporaryDirectory() as _folder:
    os.environ[_FOLDER_ENV] = _given or _folder
    from matplotlib.figure import Figure
if _given is None:
    del os.environ[_FOLDER_ENV]

__all__ = ["Figure"]
