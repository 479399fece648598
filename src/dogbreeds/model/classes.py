"""Class folders and what they say: ``069.French_bulldog`` is class id 069, French_bulldog."""

import re
from typing import NamedTuple

_NUMBERED = re.compile(r"(?P<label>\d+)\.(?P<name>.+)", re.DOTALL)


class PhotoClass(NamedTuple):
    """One class of the classifier.

    Attributes:
        label: What a prediction answers as ``predicted_label``, e.g. ``"069"``.
        name: The name for people, e.g. ``"French_bulldog"``.
    """

    label: str
    name: str


def parse_folder(name: str) -> PhotoClass:
    """Read the class from the name of its folder.

    Args:
        name: ``NNN.Breed_name`` as in the Udacity set; any other name is its own id.

    Returns:
        The class: ``"069.French_bulldog"`` gives ``("069", "French_bulldog")`` and
        ``"cats"`` gives ``("cats", "cats")``.
    """
    match = _NUMBERED.fullmatch(name)
    return PhotoClass(match["label"], match["name"]) if match else PhotoClass(name, name)
