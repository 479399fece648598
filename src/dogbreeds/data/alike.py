"""Groups of photos that look alike: in one class twice, in two classes, in two splits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dogbreeds.data.examine import Facts
from dogbreeds.data.near_duplicates import find_groups

_KEPT_FIRST = ("test", "valid", "train", "")  # keeps the test set unchanged


@dataclass(frozen=True)
class Member:
    """A photo that can be decoded."""

    name: str  # path under the folder
    split: str  # empty where the photos are not split
    label: str  # folder name of its class
    facts: Facts


def find_alike(members: Sequence[Member]) -> list[list[Member]]:
    """Return the groups of look-alikes, the one to keep first: a test photo, or the largest."""

    def preference(member: Member) -> tuple[int, int, int, str]:
        pixels, size = member.facts.width * member.facts.height, member.facts.size
        return _KEPT_FIRST.index(member.split), -pixels, -size, member.name

    groups = find_groups([member.facts.look for member in members])
    return [sorted((members[i] for i in group), key=preference) for group in groups]


def findings(group: Sequence[Member]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield kind and description of each photo that should go: all, if in two classes."""
    kept = group[0]
    exact = len({member.facts.digest for member in group}) == 1
    conflict = len({member.label for member in group}) > 1
    for member in group if conflict else group[1:]:
        kind, other = "leak" if member.split != kept.split else "duplicate", kept
        if conflict:
            kind, other = "conflict", next(o for o in group if o.label != member.label)
        detail = f"{'the same file as' if exact else 'looks like'} {other.name}"
        yield kind, {"photo": member.name, "detail": detail, "like": other.name}
