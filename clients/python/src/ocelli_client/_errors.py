"""What a search fails with."""

from __future__ import annotations

import grpc


class SearchError(Exception):
    """The server refused a request, or could not be reached in time."""

    def __init__(self, code: grpc.StatusCode, message: str, attempts: int) -> None:
        super().__init__(f"{code.name}: {message}" + (f" (after {attempts} attempts)" if attempts > 1 else ""))
        #: The gRPC status, for example INVALID_ARGUMENT.
        self.code = code
        #: The server's own words.
        self.message = message
        #: How often it was tried.
        self.attempts = attempts
