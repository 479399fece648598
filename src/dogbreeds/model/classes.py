"""Class folders: ``069.French_bulldog`` has class id 069 and name French_bulldog."""

import re
from typing import NamedTuple

_NUMBERED = re.compile(r"(?P<label>\d+)\.(?P<name>.+)", re.DOTALL)


class PhotoClass(NamedTuple):
    """One class of the classifier."""

    label: str  # the `predicted_label` of a prediction, e.g. "069"
    name: str  # for people, e.g. "French_bulldog"


def parse_folder(name: str) -> PhotoClass:
    """Return the class of a folder, named ``NNN.Breed_name`` as in the Udacity set.

    Any other name is its own id: ``"cats"`` gives ``("cats", "cats")``.
    """
    match = _NUMBERED.fullmatch(name)
    return PhotoClass(match["label"], match["name"]) if match else PhotoClass(name, name)
