"""When and how often a request is sent again."""

from __future__ import annotations

import random
from dataclasses import dataclass

import grpc

#: Searches change nothing, so that they can be repeated; these say that another time may do better.
RETRYABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with full jitter, so that clients that were refused together do not return together."""

    #: How often a request is sent at most, 1 or more; 1 never repeats.
    attempts: int = 4
    #: The longest pause before the second attempt, in seconds.
    first_backoff_s: float = 0.05
    #: The longest pause of all, in seconds.
    max_backoff_s: float = 2.0
    #: By how much the longest pause grows from attempt to attempt.
    multiplier: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_backoff_s < 0 or self.multiplier < 1:
            raise ValueError(f"expected attempts >= 1, first_backoff_s >= 0 and multiplier >= 1, found {self}")

    def pause_s(self, failed_attempts: int) -> float:
        """How long to wait after so many failures, in seconds."""
        longest = self.first_backoff_s * self.multiplier ** (failed_attempts - 1)
        return random.uniform(0.0, min(longest, self.max_backoff_s))
