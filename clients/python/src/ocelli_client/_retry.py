"""When and how often a request is sent again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Union

import grpc

from ._errors import SearchError

#: Reasons of RESOURCE_EXHAUSTED that say that another time may do better. gRPC's own, a message
#: that is too large, has none.
_PASSING = frozenset({"OVERLOADED", "RATE_LIMITED"})
#: With less time left, in seconds, no further attempt is worth it.
_LEAST_S = 0.01


def may_pass(error: SearchError) -> bool:
    """Whether the same request may succeed another time.

    Searches change nothing, so that they can be repeated.
    """
    if error.code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.reason in _PASSING or error.retry_after_s is not None
    return bool(error.code == grpc.StatusCode.UNAVAILABLE)


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with full jitter.

    With jitter, clients that were refused together do not return together.
    """

    #: How often a request is sent at most, 1 or more; 1 never repeats. None: as often as its time
    #: allows.
    attempts: Union[int, None] = None
    #: The longest pause before the second attempt, in seconds.
    first_backoff_s: float = 0.05
    #: The longest pause of all, in seconds.
    max_backoff_s: float = 2.0
    #: By how much the longest pause grows from attempt to attempt.
    multiplier: float = 2.0

    def __post_init__(self) -> None:
        enough = self.attempts is None or self.attempts >= 1
        if not enough or self.first_backoff_s < 0 or self.multiplier < 1:
            raise ValueError(
                f"expected attempts >= 1, first_backoff_s >= 0 and multiplier >= 1, found {self}"
            )

    def pause_s(self, failed_attempts: int) -> float:
        """How long to wait after so many failures, in seconds."""
        # Pauses of many attempts would not fit a float.
        growth = self.multiplier ** min(failed_attempts - 1, 64)
        return random.uniform(0.0, min(self.first_backoff_s * growth, self.max_backoff_s))

    def next_pause_s(self, error: SearchError, left_s: float) -> Union[float, None]:
        """The pause in seconds before a request that failed with `error` is sent again.

        `left_s` is the time until its deadline, in seconds. None: another attempt is not worth it.
        An attempt has at least as much time as the pause before it, unless the server names a time.
        """
        wanted_s = error.retry_after_s or 0.0
        spent = self.attempts is not None and error.attempts >= self.attempts
        if spent or not may_pass(error) or left_s < _LEAST_S or wanted_s >= left_s:
            return None
        # Not before the server wants it, and then not all clients at once.
        return max(wanted_s, min(wanted_s + self.pause_s(error.attempts), left_s / 2))
