"""How much a server does for others, and how it says no."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from diptych.errors import DiptychError, UsageError

MOST_SAID = 100  # letters of what a client has sent, in the sentence about it


class RefusedError(DiptychError):
    """A request that is not answered with a picture; the message is one sentence for the client.

    ``status`` is the HTTP status, ``retry_after`` the seconds after which to try again.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True)
class Limits:
    """What one server takes on."""

    megabytes: float = 20  # of one picture as it is sent (10**6 bytes)
    megapixels: float = 50  # of one picture as it is sent
    network_megapixels: float = 2  # of one picture as the network sees it, scaled if asked for
    waiting: int = 32  # pictures that are decoded, wait for the network, or are in it
    waiting_megapixels: float = 100  # of them together, once decoded and scaled
    batch: int = 8  # pictures of one size that go through the network together
    upload_seconds: float = 30  # for a request to arrive
    answer_seconds: float = 60  # from then on to the translation, and again to its file

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 < getattr(self, field.name) < math.inf:
                raise UsageError(f"--{field.name.replace('_', '-')} must be a number above 0")

    @property
    def body_bytes(self) -> int:
        """The longest body of a request: the picture, and a form around it."""
        return self.picture_bytes + 65_536

    @property
    def picture_bytes(self) -> int:
        """The longest picture as it is sent."""
        return int(self.megabytes * 1e6)

    def seconds_for(self, length: int) -> float:
        """In which so many bytes must come, or be taken: for each picture's worth as for one."""
        return self.upload_seconds * max(1.0, length / self.body_bytes)

    def check_sent(self, length: int) -> None:
        """Raise RefusedError for a picture of so many bytes that it is too long."""
        if length > self.picture_bytes:
            raise RefusedError(
                413, f"{length} bytes are too many: a picture may have {self.picture_bytes}"
            )

    @property
    def pixels(self) -> int:
        """The most pixels of a picture as it is sent."""
        return int(self.megapixels * 1e6)

    @property
    def waiting_pixels(self) -> int:
        """The most pixels of all pictures that wait for the network or are in it."""
        return int(self.waiting_megapixels * 1e6)

    @property
    def network_pixels(self) -> int:
        """The most pixels of a picture as the network sees it."""
        return int(self.network_megapixels * 1e6)
