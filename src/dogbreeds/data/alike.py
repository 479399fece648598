"""Groups of photos that look alike: in one class twice, in two classes, in two splits."""

from collections.abc import Sequence
from dataclasses import dataclass

from dogbreeds.data.examine import Facts
from dogbreeds.data.near_duplicates import find_groups

_KEPT_FIRST = ("test", "valid", "train", "")  # what a model is measured on stays the same


@dataclass(frozen=True)
class Member:
    """A photo of a group.

    Attributes:
        name: Its path under the folder.
        split: Its split; empty where the photos are not split.
        label: Folder name of its class.
        facts: What is known of it.
    """

    name: str
    split: str
    label: str
    facts: Facts


@dataclass(frozen=True)
class Group:
    """Two or more photos that look alike.

    Attributes:
        members: The one to keep first: of the test before the validation before the training
            photos, then the one with the most pixels.
    """

    members: tuple[Member, ...]

    @property
    def exact(self) -> bool:
        """Whether the files are the same to the byte."""
        return len({member.facts.digest for member in self.members}) == 1

    @property
    def leaks(self) -> bool:
        """Whether it spans two splits: a model would be measured on what it was trained on."""
        return len({member.split for member in self.members}) > 1

    @property
    def conflicts(self) -> bool:
        """Whether it spans two classes: one label must be wrong."""
        return len({member.label for member in self.members}) > 1

    def findings(self) -> list[tuple[str, dict[str, str]]]:
        """Return the kind and description of what is wrong with each photo that should go.

        Of photos in two classes nobody knows which label is right: all go.
        """
        kept = self.members[0]
        how = "the same file as" if self.exact else "looks like"
        if self.conflicts:
            others = {m: next(o for o in self.members if o.label != m.label) for m in self.members}
            return [
                ("conflict", {"photo": m.name, "detail": f"{how} {o.name}", "like": o.name})
                for m, o in others.items()
            ]
        return [
            (
                "leak" if member.split != kept.split else "duplicate",
                {"photo": member.name, "detail": f"{how} {kept.name}", "like": kept.name},
            )
            for member in self.members[1:]
        ]


def find_alike(members: Sequence[Member]) -> list[Group]:
    """Return all groups of photos that look alike, copies included.

    Args:
        members: Photos that can be decoded.
    """
    groups = find_groups([member.facts.look for member in members])
    return [Group(tuple(sorted((members[i] for i in g), key=_preference))) for g in groups]


def _preference(member: Member) -> tuple[int, int, int, str]:
    facts = member.facts
    return (
        _KEPT_FIRST.index(member.split),
        -facts.width * facts.height,
        -facts.size,
        member.name,
    )
