"""Labels from a CSV file: a header with the columns ``path`` and ``label``, one line per photo."""

import csv
import unicodedata
from pathlib import Path, PurePosixPath

from dogbreeds.data.photo import PhotosError

_PATH = ("path", "file_name", "filename", "file", "image")
_LABEL = ("label", "class")
_DELIMITERS = ",;\t"  # spreadsheets write semicolons where decimals have a comma


def find_labels(folder: Path) -> Path | None:
    """Return the CSV file beside photos whose header has path and label; PhotosError if several."""
    found = [file for file in sorted(folder.glob("*.csv")) if file.is_file() and _columns(file)]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise PhotosError(f"expected one labels file in {folder}, got {names}: remove the others")
    return found[0] if found else None


def read_labels(file: Path) -> dict[Path, str]:
    """Return the label of each path, in the order of a labels file in UTF-8.

    Its paths are relative to its folder; other columns are ignored. PhotosError if a line has no
    path or label, a path leads out of the folder, a label is not a valid folder name, or a path has
    two labels; OSError if it cannot be read.
    """
    columns = _columns(file)
    if columns is None:
        raise PhotosError(f"expected the columns path and label in {file}")
    path_column, label_column, delimiter = columns
    labels: dict[Path, str] = {}
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream, delimiter=delimiter)
        next(rows)
        try:
            for row in rows:
                if not any(cell.strip() for cell in row):
                    continue
                where = f"{file} line {rows.line_num}"
                if len(row) <= max(path_column, label_column):
                    raise PhotosError(f"{where}: expected a path and a label, got {row}")
                name = PurePosixPath(row[path_column].strip().replace("\\", "/"))
                label = unicodedata.normalize("NFC", row[label_column].strip())
                if name.is_absolute() or ".." in name.parts or not name.name:
                    raise PhotosError(f"{where}: expected a path below {file.parent}, got {name}")
                if not label or label.startswith(".") or "/" in label or "\0" in label:
                    raise PhotosError(f"{where}: expected a label, got {row[label_column]!r}")
                if labels.setdefault(file.parent / name, label) != label:
                    raise PhotosError(f"{where}: {name} has another label above: keep one")
        except (csv.Error, UnicodeDecodeError) as error:
            raise PhotosError(f"{file} is not a CSV file in UTF-8: {error}") from error
    return labels


def _columns(file: Path) -> tuple[int, int, str] | None:
    """Return the positions of path and label, and the delimiter; None if they are missing."""
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        header = stream.readline(4096).strip().lower()
    for delimiter in _DELIMITERS:
        names = [name.strip(' "') for name in header.split(delimiter)]
        path = [names.index(name) for name in _PATH if name in names]
        label = [names.index(name) for name in _LABEL if name in names]
        if path and label:
            return path[0], label[0], delimiter
    return None
