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
    """Two or more photos that look alike, the one to keep first: a test photo, or the largest."""

    members: tuple[Member, ...]

    def findings(self) -> list[tuple[str, dict[str, str]]]:
        """Return kind and description of each photo that should go: all, if in two classes."""
        kept = self.members[0]
        exact = len({member.facts.digest for member in self.members}) == 1
        conflict = len({member.label for member in self.members}) > 1
        found = []
        for member in self.members if conflict else self.members[1:]:
            kind, other = "leak" if member.split != kept.split else "duplicate", kept
            if conflict:
                kind, other = "conflict", next(o for o in self.members if o.label != member.label)
            detail = f"{'the same file as' if exact else 'looks like'} {other.name}"
            found.append((kind, {"photo": member.name, "detail": detail, "like": other.name}))
        return found


def find_alike(members: Sequence[Member]) -> list[Group]:
    """Return all groups of look-alikes, copies included, among photos that can be decoded."""

    def preference(member: Member) -> tuple[int, int, int, str]:
        pixels, size = member.facts.width * member.facts.height, member.facts.size
        return _KEPT_FIRST.index(member.split), -pixels, -size, member.name

    groups = find_groups([member.facts.look for member in members])
    return [Group(tuple(sorted((members[i] for i in g), key=preference))) for g in groups]
