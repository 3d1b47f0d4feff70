"""Many queries: they are cut into requests that fit, and the answers are joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, Callable, Union

import grpc
import numpy as np

from . import _query
from ._errors import SearchError
from ._generated.ocelli.v1 import search_pb2
from ._query import Query, Term
from ._result import BatchHits

Queries = Union[_query.Vector, Sequence[Union[Query, Term, Sequence[Term]]]]
#: Makes the request for the terms of some queries.
Make = Callable[[Sequence[list[search_pb2.QueryTerm]]], search_pb2.BatchSearchRequest]
Send = Callable[[search_pb2.BatchSearchRequest], search_pb2.BatchSearchResponse]

#: Bytes of a hit: its id and score at most, and a key as long as most are. Longer ones make the
#: server say so.
_HIT_BYTES, _KEY_BYTES = 14, 100
#: Bytes of a query beside its terms, and of a request beside its queries and names, at most.
_QUERY_BYTES, _REQUEST_BYTES = 16, 1024
#: Rows that a message names.
_NAMED = 10


def check_finite(queries: Queries) -> None:
    """Raises ValueError that names the rows whose vectors are not finite in float32."""
    if isinstance(queries, np.ndarray):
        bad: list[int] = []
        for start in range(0, len(queries), 4096):
            with np.errstate(over="ignore"):
                rows = np.asarray(queries[start : start + 4096], dtype=np.float32)
            bad += (start + np.flatnonzero(~np.isfinite(rows).all(axis=1))).tolist()
    else:
        bad = [row for row, query in enumerate(queries) if not _query.is_finite(query)]
    if bad:
        named = ", ".join(str(row) for row in bad[:_NAMED])
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        word = "row" if len(bad) == 1 else "rows"
        what = "hold values that are not finite in float32"
        raise ValueError(f"{word} {named}{more} of the queries {what}")


class Batch:
    """One call of `search_batch`."""

    def __init__(self, queries: Queries, k: int, make: Make, send: Send, limit_bytes: int) -> None:
        self._queries, self._make, self._send = queries, make, send
        self._limit_bytes = limit_bytes
        self.hits = BatchHits.empty(len(queries), k)

    def run(self, batch: int, in_flight: int, with_keys: bool) -> BatchHits:
        """Asks for all rows, `batch` at a time and fewer where answers would be too large."""
        k = self.hits.ids.shape[1]
        query_bytes = max(1, k * (_HIT_BYTES + (_KEY_BYTES if with_keys else 0)))
        size = max(1, min(batch, self._limit_bytes // query_bytes))
        n = len(self._queries)
        failed: Union[SearchError, None] = None
        with ThreadPoolExecutor(max_workers=in_flight, thread_name_prefix="ocelli") as pool:
            rows = [range(start, min(start + size, n)) for start in range(0, n, size)]
            parts = [pool.submit(self._part, part) for part in rows]
            for part in parts:
                try:
                    part.result()
                except CancelledError:
                    pass
                except SearchError as error:
                    # What is with the server already comes back.
                    failed = failed or error
                    _cancel(parts)
                except BaseException:
                    _cancel(parts)
                    raise
        if failed is not None:
            self.hits.fail_rest(failed)
        # Parts end in any order; errors are read in the order of the rows.
        self.hits.errors = dict(sorted(self.hits.errors.items()))
        if failed is not None:
            failed.hits = self.hits
            raise failed
        self._check_any()
        return self.hits

    def _check_any(self) -> None:
        """Raises the first row's error if no row has an answer."""
        n, errors = len(self.hits), self.hits.errors
        if n == 0 or len(errors) < n:
            return
        first = errors[0]
        message = f"all {n} queries failed; row 0: {first.message}" if n > 1 else first.message
        error = SearchError(first.code, message, reason=first.reason, field=first.field)
        error.hits = self.hits
        raise error

    def _part(self, rows: range) -> None:
        """Asks for some rows, in as many requests as it takes."""
        waiting = [rows]
        while waiting:
            rows = waiting.pop()
            terms = list(self._fitting(rows))
            used = len(terms)
            if used < len(rows):
                waiting.append(rows[used:])
            try:
                response = self._send(self._make(terms))
            except SearchError as error:
                if used == 1 or not _is_too_large(error):
                    raise
                waiting += [rows[used // 2 : used], rows[: used // 2]]
                continue
            self.hits.take(rows.start, response)

    def _fitting(self, rows: range) -> Iterator[list[search_pb2.QueryTerm]]:
        """The terms of as many of the rows as fit into one request, of one at least."""
        left = self._limit_bytes - self._make([]).ByteSize() - _REQUEST_BYTES
        for row in rows:
            terms = _query.terms(self._queries[row])
            left -= _QUERY_BYTES + sum(_QUERY_BYTES + term.ByteSize() for term in terms)
            if left < 0 and row != rows.start:
                return
            yield terms


def _cancel(parts: list[Future[None]]) -> None:
    for part in parts:
        part.cancel()


def _is_too_large(error: SearchError) -> bool:
    """Whether fewer queries at a time may be answered.

    The server says so, or gRPC on this side, which gives no reason.
    """
    if error.code == grpc.StatusCode.OUT_OF_RANGE:
        return True
    exhausted = bool(error.code == grpc.StatusCode.RESOURCE_EXHAUSTED)
    return exhausted and not error.reason and "larger than max" in error.message
