"""Groups of photos that look alike: in one class twice, in two classes, in two splits."""

from collections.abc import Sequence
from dataclasses import dataclass

from dogbreeds.data.examine import Facts
from dogbreeds.data.near_duplicates import find_groups

_KEPT_FIRST = ("test", "valid", "train", "")  # keeps the test set unchanged


@dataclass(frozen=True)
class Member:
    """A photo of a group."""

    name: str  # path under the folder
    split: str  # empty where the photos are not split
    label: str  # folder name of its class
    facts: Facts


@dataclass(frozen=True)
class Group:
    """Two or more photos that look alike, the one to keep first.

    Test photos come before validation and training photos, then those with the most pixels.
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
        """Return kind and description of the finding for each photo that should go.

        Of photos in two classes all should go: nobody knows which label is right.
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
    """Return all groups of look-alikes, copies included, among photos that can be decoded."""
    groups = find_groups([member.facts.look for member in members])
    return [Group(tuple(sorted((members[i] for i in g), key=_preference))) for g in groups]


def _preference(member: Member) -> tuple[int, int, int, str]:
    facts = member.facts
    return (_KEPT_FIRST.index(member.split), -facts.width * facts.height, -facts.size, member.name)
