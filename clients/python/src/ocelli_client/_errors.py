"""The error of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union, cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ._generated.ocelli.v1 import common_pb2

if TYPE_CHECKING:
    from ._result import BatchHits

#: The domain of the reasons.
_DOMAIN = "ocelli.v1"
_REASON_PREFIX = "ERROR_REASON_"


class SearchError(Exception):
    """The server refused a request, or could not be reached in time."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        attempts: int = 1,
        *,
        reason: str = "",
        field: str = "",
        retry_after_s: Union[float, None] = None,
    ) -> None:
        super().__init__(
            f"{code.name}: {message}" + (f" (after {attempts} attempts)" if attempts > 1 else "")
        )
        #: The gRPC status, for example INVALID_ARGUMENT.
        self.code = code
        #: The server's message.
        self.message = message
        #: How often the request was sent.
        self.attempts = attempts
        #: The reason for programs, for example INDEX_NOT_FOUND; empty if the server names none.
        self.reason = reason
        #: The field of the request that is wrong, for example terms[0].vector; empty if none is.
        self.field = field
        #: After how many seconds the server wants to be asked again; None if it does not say.
        self.retry_after_s = retry_after_s
        #: Of `search_batch`: the answers that came all the same, with an error for each row that
        #: has none; else None.
        self.hits: Union[BatchHits, None] = None

    @staticmethod
    def of(error: grpc.RpcError, attempts: int) -> SearchError:
        """The error of a failed call, with the details of its status."""
        reason, field = "", ""
        retry_after_s: Union[float, None] = None
        for detail in _details(error):
            info, bad, again = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RetryInfo(),
            )
            if detail.Unpack(info) and info.domain == _DOMAIN:
                reason = info.reason
            elif detail.Unpack(bad) and bad.field_violations:
                field = bad.field_violations[0].field
            elif detail.Unpack(again):
                retry_after_s = again.retry_delay.ToNanoseconds() / 1e9
        message = error.details() or ""
        return SearchError(
            error.code(), message, attempts, reason=reason, field=field, retry_after_s=retry_after_s
        )


def reason_name(reason: int) -> str:
    """A reason of an item as statuses name it; empty for an unspecified or unknown one."""
    if (
        reason == common_pb2.ERROR_REASON_UNSPECIFIED
        or reason not in common_pb2.ErrorReason.values()
    ):
        return ""
    return common_pb2.ErrorReason.Name(cast("common_pb2.ErrorReason", reason)).removeprefix(
        _REASON_PREFIX
    )


def _details(error: grpc.RpcError) -> list[any_pb2.Any]:
    """The details of a status.

    There are none if a proxy or this client's own gRPC made the status, or if they are damaged.
    """
    try:
        status = rpc_status.from_call(cast("grpc.Call", error))
    except (DecodeError, ValueError):
        return []
    return list(status.details) if status is not None else []
