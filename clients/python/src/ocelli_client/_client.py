"""The client."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Callable, Union, cast

import grpc
import numpy as np

from . import _query
from ._errors import SearchError
from ._generated.ocelli.v1 import search_pb2
from ._query import Expansion, Id, Key, Query, Term
from ._result import Hits
from ._retry import RETRYABLE, Retry

_SEARCH = "/ocelli.v1.SearchService/Search"
_Call = Callable[..., search_pb2.SearchResponse]


class Client:
    """A connection to one searcher; threads may share it.

    `target` is HOST:PORT. With `ca` (PEM bytes of the authority of the server's certificate) it speaks TLS, with
    `client_cert` and `client_key` (PEM bytes) it shows a certificate of its own. `token` is a bearer token; without
    TLS everybody on the way can read it.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        token: Union[str, None] = None,
        ca: Union[bytes, None] = None,
        client_cert: Union[bytes, None] = None,
        client_key: Union[bytes, None] = None,
        timeout_s: float = 10.0,
        retry: Retry = Retry(),
        max_message_bytes: int = 64 << 20,
    ) -> None:
        options = [
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
        ]
        if ca is not None:
            credentials = grpc.ssl_channel_credentials(ca, client_key, client_cert)
            self._channel = grpc.secure_channel(target, credentials, options)
        elif client_cert is not None or client_key is not None:
            raise ValueError("client_cert and client_key need ca, the authority of the server's certificate")
        else:
            self._channel = grpc.insecure_channel(target, options)
        self._metadata = [("authorization", f"Bearer {token}")] if token is not None else []
        self._timeout_s = timeout_s
        self._retry = retry
        self._search = cast(
            _Call,
            self._channel.unary_unary(
                _SEARCH,
                request_serializer=search_pb2.SearchRequest.SerializeToString,
                response_deserializer=search_pb2.SearchResponse.FromString,
            ),
        )
        self._closed = threading.Event()

    def close(self) -> None:
        """Ends the connection and what still waits to be repeated."""
        self._closed.set()
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: Union[type[BaseException], None],
        error: Union[BaseException, None],
        trace: Union[TracebackType, None],
    ) -> None:
        self.close()

    def search(
        self,
        query: Union[Query, Term, Sequence[Term]],
        *,
        index: str = "",
        k: int = 10,
        nprobe: int = 0,
        refine: Union[int, None] = None,
        exact: bool = False,
        score_threshold: Union[float, None] = None,
        allow: Union[Iterable[Union[Id, Key, int, str]], None] = None,
        deny: Iterable[Union[Id, Key, int, str]] = (),
        expansion: Union[Expansion, None] = None,
        generation: int = 0,
        with_keys: bool = True,
        allow_partial: bool = False,
        timeout_s: Union[float, None] = None,
    ) -> Hits:
        """The k nearest images of a vector (dim,), an image, id or key, or of the weighted mean of several terms.

        Zeros and None stand for the server's defaults. `timeout_s` is for all attempts together.

        Raises SearchError, and ValueError for what no server needs to see.
        """
        request = _request(
            query,
            index=index,
            k=k,
            nprobe=nprobe,
            refine=refine,
            exact=exact,
            score_threshold=score_threshold,
            allow=allow,
            deny=deny,
            expansion=expansion,
            generation=generation,
            with_keys=with_keys,
            allow_partial=allow_partial,
        )
        return self._send(request, self._timeout_s if timeout_s is None else timeout_s)

    def search_many(
        self,
        queries: Union[_query.Vector, Iterable[Union[Query, Term, Sequence[Term]]]],
        *,
        in_flight: int = 16,
        timeout_s: Union[float, None] = None,
        **options: Any,
    ) -> Iterator[Hits]:
        """`search` for each row of an array (n, dim), or each query, in their order, `in_flight` at a time.

        Queries are taken as answers go: neither all queries nor all answers are ever in memory. `options` and
        `timeout_s` (for each query) are those of `search`. Raises what it raises, at the first query that fails.
        """
        if in_flight < 1:
            raise ValueError(f"in_flight is {in_flight}; expected at least 1")
        if isinstance(queries, np.ndarray) and queries.ndim != 2:
            raise ValueError(f"queries have shape {queries.shape}; expected (n, dim)")
        waiting: list[Future[Hits]] = []
        with ThreadPoolExecutor(max_workers=in_flight, thread_name_prefix="ocelli") as pool:
            try:
                for query in queries:
                    if len(waiting) >= in_flight:
                        yield waiting.pop(0).result()
                    waiting.append(pool.submit(self.search, query, timeout_s=timeout_s, **options))
                while waiting:
                    yield waiting.pop(0).result()
            finally:
                for future in waiting:
                    future.cancel()

    def _send(self, request: search_pb2.SearchRequest, timeout_s: float) -> Hits:
        end = time.monotonic() + timeout_s
        attempt = 0
        while True:
            attempt += 1
            left = max(end - time.monotonic(), 0.001)
            try:
                return Hits.of(self._search(request, timeout=left, metadata=self._metadata))
            except grpc.RpcError as error:
                code, message = error.code(), error.details() or ""
            pause = self._retry.pause_s(attempt)
            again = code in RETRYABLE and attempt < self._retry.attempts
            if not again or time.monotonic() + pause >= end or self._closed.wait(pause):
                raise SearchError(code, message, attempt)


def _request(
    query: Union[Query, Term, Sequence[Term]],
    *,
    allow: Union[Iterable[Union[Id, Key, int, str]], None],
    deny: Iterable[Union[Id, Key, int, str]],
    expansion: Union[Expansion, None],
    **fields: Any,
) -> search_pb2.SearchRequest:
    several = isinstance(query, (list, tuple)) and any(isinstance(part, Term) for part in query)
    terms = [_query.term(part) for part in cast("Sequence[Term]", query)] if several else [_query.term(cast(Query, query))]
    request = search_pb2.SearchRequest(terms=terms, **fields)
    if expansion is not None:
        request.expansion.CopyFrom(expansion.message())
    denied = _query.image_set(deny)
    if allow is not None:
        request.filter.allow.CopyFrom(_query.image_set(allow))
    if denied.ids or denied.keys:
        request.filter.deny.CopyFrom(denied)
    return request
