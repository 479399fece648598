"""matplotlib's `Figure` without a font cache in the home folder; the import takes a second."""

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
