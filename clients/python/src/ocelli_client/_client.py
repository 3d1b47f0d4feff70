"""The client."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, TypeVar, Union, cast

import grpc
import numpy as np
from google.protobuf.message import Message

from . import _batch, _options, _query
from ._address import is_loopback
from ._address import target as parse_target
from ._errors import SearchError
from ._generated.ocelli.v1 import search_pb2
from ._options import SearchOptions
from ._query import Query, Term
from ._result import BatchHits, Hits
from ._retry import Retry
from ._window import Window

if TYPE_CHECKING:
    from typing_extensions import Unpack

_SEARCH = "/ocelli.v1.SearchService/Search"
_BATCH_SEARCH = "/ocelli.v1.SearchService/BatchSearch"
#: Why a server refuses what it could answer later.
_OVERLOADED = "OVERLOADED"
_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)
_Call = Callable[..., _Response]


def _checked_token(token: Union[str, None]) -> Union[str, None]:
    """The token without the end of its line; raises ValueError if it cannot travel in a header."""
    if token is None:
        return None
    token = token.removesuffix("\n").removesuffix("\r")
    if not token or any(not "!" <= letter <= "~" for letter in token):
        raise ValueError("token: expected one word of ASCII, found something else")
    return token


def _reopen(settings: dict[str, Any]) -> Client:
    return Client(**settings)


class Client:
    """A connection to one searcher; threads may share it.

    `target` is HOST:PORT, http://HOST:PORT or https://HOST:PORT. With `ca` (PEM bytes of the
    authority of the server's certificate) it speaks TLS; with https:// and no `ca`, by the
    authorities that come with gRPC. `client_cert` and `client_key` (PEM bytes) are a certificate
    that the client shows. `token` is a bearer token; without TLS, everybody on the way can read it.
    `timeout_s` is the time of a request in seconds. `max_message_bytes` is the size of the largest
    request and of the largest answer. `http_proxy` and the like count for other machines only,
    never for this one.

    A pickled client connects anew with the same settings, so that worker processes can be given
    one. Its token and its key are in the pickle.
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
        self._settings: dict[str, Any] = {
            "target": target,
            "token": token,
            "ca": ca,
            "client_cert": client_cert,
            "client_key": client_key,
            "timeout_s": timeout_s,
            "retry": retry,
            "max_message_bytes": max_message_bytes,
        }
        token = _checked_token(token)
        if (client_cert is None) != (client_key is None):
            raise ValueError("client_cert and client_key belong together: one of them is missing")
        options = [
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
        ]
        target, tls = parse_target(target)
        if is_loopback(target):
            options.append(("grpc.enable_http_proxy", 0))
        if tls is False and ca is not None:
            raise ValueError("http:// is not encrypted: expected https:// beside ca")
        if ca is not None or tls:
            credentials = grpc.ssl_channel_credentials(ca, client_key, client_cert)
            self._channel = grpc.secure_channel(target, credentials, options)
        elif client_cert is not None or client_key is not None:
            raise ValueError(
                "client_cert and client_key need ca, the authority of the server's certificate"
            )
        else:
            self._channel = grpc.insecure_channel(target, options)
        self._metadata = [("authorization", f"Bearer {token}")] if token is not None else []
        self._timeout_s = timeout_s
        self._retry = retry
        self._max_message_bytes = max_message_bytes
        self._search = self._method(_SEARCH, search_pb2.SearchRequest, search_pb2.SearchResponse)
        self._batch_search = self._method(
            _BATCH_SEARCH, search_pb2.BatchSearchRequest, search_pb2.BatchSearchResponse
        )
        self._closed = threading.Event()

    def _method(
        self, path: str, request: type[_Request], response: type[_Response]
    ) -> _Call[_Response]:
        return cast(
            "_Call[_Response]",
            self._channel.unary_unary(
                path,
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            ),
        )

    def close(self) -> None:
        """Ends the connection and what still waits to be repeated."""
        self._closed.set()
        self._channel.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._settings,)

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
        generation: int = 0,
        timeout_s: Union[float, None] = None,
        **options: Unpack[SearchOptions],
    ) -> Hits:
        """The k nearest images of a query.

        The query is a vector (dim,), an image, an id, a key, or a list of weighted terms, whose
        mean is looked for. `index` names the index; empty: the server's only one. `generation` is
        the generation that must answer; 0: the current one. `timeout_s` is the time for all
        attempts together, in seconds; None: the client's own. `options` are those of
        `SearchOptions`.

        Raises SearchError, ValueError for a vector that is not finite, and TypeError for an unknown
        option.
        """
        request = _request(query, index, generation, **options)
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        return Hits.of(self._send(self._search, request, limit_s, Window(1)))

    def search_batch(
        self,
        queries: Union[_query.Vector, Sequence[Union[Query, Term, Sequence[Term]]]],
        *,
        index: str = "",
        generation: int = 0,
        batch: int = 1000,
        in_flight: int = 2,
        timeout_s: Union[float, None] = None,
        **options: Unpack[SearchOptions],
    ) -> BatchHits:
        """The k nearest images of each query, as arrays (n, k).

        The queries are the rows of an array (n, dim), or n queries of any kind. Near queries of a
        batch are answered together, which is several times as fast as one by one. They travel in
        requests of `batch` queries, or of fewer if a request or its answer would be larger than a
        message may be. `in_flight` requests are with the server at a time, or fewer if the server
        refuses more. `timeout_s` is the time of each request, in seconds, from when it is sent
        first. `index`, `generation` and `options` are those of `search`.

        A query that fails alone is in `errors` of the answer. Raises what `search` raises if the
        queries have a mistake in common, if every query fails, and if a request fails for good.
        `hits` of that error has the answers that came before, and an error for each other row.
        Raises ValueError that names the rows of vectors that are not finite, before anything is
        sent.
        """
        k = options.get("k", _options.DEFAULT_K)
        if batch < 1 or in_flight < 1:
            raise ValueError(f"batch is {batch} and in_flight {in_flight}; expected at least 1")
        if k < 1:
            raise ValueError(f"k is {k}; expected at least 1")
        if isinstance(queries, np.ndarray) and queries.ndim != 2:
            raise ValueError(f"queries have shape {queries.shape}; expected (n, dim)")
        _batch.check_finite(queries)
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        window = Window(in_flight)
        how = _options.message(**options)

        def make(terms: Sequence[list[search_pb2.QueryTerm]]) -> search_pb2.BatchSearchRequest:
            sent = [search_pb2.BatchQuery(terms=terms) for terms in terms]
            return search_pb2.BatchSearchRequest(
                index=index, generation=generation, queries=sent, options=how
            )

        def send(request: search_pb2.BatchSearchRequest) -> search_pb2.BatchSearchResponse:
            return self._send(self._batch_search, request, limit_s, window)

        whole = _batch.Batch(queries, k, make, send, self._max_message_bytes)
        return whole.run(batch, in_flight, how.with_keys)

    def search_many(
        self,
        queries: Union[_query.Vector, Iterable[Union[Query, Term, Sequence[Term]]]],
        *,
        index: str = "",
        generation: int = 0,
        in_flight: int = 16,
        timeout_s: Union[float, None] = None,
        **options: Unpack[SearchOptions],
    ) -> Iterator[Hits]:
        """`search` for each query, in their order, `in_flight` of them at a time.

        The queries are the rows of an array (n, dim), or an iterable of queries of any kind. They
        are taken one by one as answers are: neither all queries nor all answers are ever in memory.
        If they fit there, `search_batch` is several times as fast. `index`, `generation` and
        `options` are those of `search`, and so is `timeout_s`, for each query. Raises what `search`
        raises, at the first query that fails.
        """
        if in_flight < 1:
            raise ValueError(f"in_flight is {in_flight}; expected at least 1")
        if isinstance(queries, np.ndarray) and queries.ndim != 2:
            raise ValueError(f"queries have shape {queries.shape}; expected (n, dim)")
        waiting: list[Future[Hits]] = []
        window = Window(in_flight)
        limit_s = self._timeout_s if timeout_s is None else timeout_s

        def one(number: int, query: Union[Query, Term, Sequence[Term]]) -> Hits:
            try:
                request = _request(query, index, generation, **options)
            except ValueError as error:
                raise ValueError(f"query {number}: {error}") from None
            return Hits.of(self._send(self._search, request, limit_s, window))

        with ThreadPoolExecutor(max_workers=in_flight, thread_name_prefix="ocelli") as pool:
            try:
                for number, query in enumerate(queries):
                    if len(waiting) >= in_flight:
                        yield waiting.pop(0).result()
                    waiting.append(pool.submit(one, number, query))
                while waiting:
                    yield waiting.pop(0).result()
            finally:
                for future in waiting:
                    future.cancel()

    def _send(
        self, call: _Call[_Response], request: Message, timeout_s: float, window: Window
    ) -> _Response:
        """Sends a request until it is answered or its time is over.

        The time begins when the request has its place in `window`.
        """
        window.enter()
        answered = False
        try:
            response = self._repeat(call, request, timeout_s, window)
            answered = True
            return response
        finally:
            window.leave(answered)

    def _repeat(
        self, call: _Call[_Response], request: Message, timeout_s: float, window: Window
    ) -> _Response:
        end = time.monotonic() + timeout_s
        attempt = 0
        while True:
            attempt += 1
            left = max(end - time.monotonic(), 0.001)
            try:
                return call(request, timeout=left, metadata=self._metadata)
            except grpc.RpcError as error:
                failed = SearchError.of(error, attempt)
            begin = time.monotonic()
            if failed.reason == _OVERLOADED and self._retry.attempts != 1 and window.step_back():
                # The other requests of the same call keep the server busy: waiting for them is none
                # of its time.
                end += time.monotonic() - begin
                attempt -= 1
                continue
            pause = self._retry.next_pause_s(failed, end - time.monotonic())
            if pause is None or self._closed.wait(pause):
                raise failed


def _request(
    query: Union[Query, Term, Sequence[Term]],
    index: str = "",
    generation: int = 0,
    **options: Unpack[SearchOptions],
) -> search_pb2.SearchRequest:
    return search_pb2.SearchRequest(
        index=index,
        generation=generation,
        terms=_query.terms(query),
        options=_options.message(**options),
    )
