"""A request that cannot be answered, as reported to the client."""

from http import HTTPStatus

from dogbreeds.system.errors import DogbreedsError


class RequestError(DogbreedsError):
    """A refused request, or one refused photo of it, usually with a 4xx status.

    Attributes:
        status: The HTTP status of the answer.
        error: What is wrong, in a few words.
        expected: What would have been right.
        got: What came instead.
    """

    def __init__(self, status: HTTPStatus, error: str, expected: str, got: str) -> None:
        super().__init__(f"{error}: expected {expected}, got {got}")
        self.status = status
        self.error = error
        self.expected = expected
        self.got = got

    def to_dict(self) -> dict[str, str]:
        """Return the body of the answer."""
        return {"error": self.error, "expected": self.expected, "got": self.got}
