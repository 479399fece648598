"""Class folders and what they say: ``069.French_bulldog`` is class id 069, French_bulldog."""

import re
from typing import NamedTuple

_NUMBERED = re.compile(r"(?P<class_id>\d+)\.(?P<class_name>.+)", re.DOTALL)


class Breed(NamedTuple):
    """One class of the classifier.

    Attributes:
        class_id: What a prediction answers as ``predicted_label``, e.g. ``"069"``.
        class_name: The name for people, e.g. ``"French_bulldog"``.
    """

    class_id: str
    class_name: str


def parse_folder(name: str) -> Breed:
    """Read the class from the name of its folder.

    Args:
        name: ``NNN.Breed_name`` as in the Udacity set; any other name is its own id.

    Returns:
        The class: ``"069.French_bulldog"`` gives ``("069", "French_bulldog")`` and
        ``"cats"`` gives ``("cats", "cats")``.
    """
    match = _NUMBERED.fullmatch(name)
    return Breed(match["class_id"], match["class_name"]) if match else Breed(name, name)
