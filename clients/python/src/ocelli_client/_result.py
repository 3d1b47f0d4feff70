"""The hits of a search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Union, cast

import grpc
import numpy as np
import numpy.typing as npt

from ._errors import SearchError, reason_name
from ._generated.ocelli.v1 import attributes_pb2, common_pb2, predicate_pb2, search_pb2

#: The id of a place in `BatchHits.ids` that has no hit.
NO_ID = np.uint64(2**64 - 1)

_METRICS: dict[int, Literal["inner_product", "l2"]] = {
    common_pb2.METRIC_INNER_PRODUCT: "inner_product",
    common_pb2.METRIC_L2: "l2",
}
#: A value of an attribute; None: the image has none.
Attribute = Union[int, float, bool, str, bytes, None]
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _stage(number: int) -> str:
    """The name of a stage, scan for example; its number if this client does not know it."""
    if number not in search_pb2.Stage.values():
        return str(number)
    return search_pb2.Stage.Name(cast("search_pb2.Stage", number)).removeprefix("STAGE_").lower()


def _attributes(
    columns: Iterable[attributes_pb2.AttributeColumn],
) -> dict[str, list[Attribute]]:
    """The values of each column that was asked for, in the order of the hits."""
    return {column.name: [_attribute(value) for value in column.values] for column in columns}


def _attribute(value: predicate_pb2.AttributeValue) -> Attribute:
    kind = value.WhichOneof("value")
    return None if kind is None else cast("Attribute", getattr(value, kind))


@dataclass(frozen=True, eq=False)
class Hits:
    """Hits by column, best first, ties by smaller id."""

    #: (n,)
    ids: npt.NDArray[np.uint64]
    #: (n,): inner products (larger is better) or squared L2 distances (smaller is better), as
    #: `metric` says.
    scores: npt.NDArray[np.float32]
    #: (n,) if keys were asked for, else empty.
    keys: list[str]
    metric: Literal["inner_product", "l2", "unknown"]
    #: The generation of the index that answered.
    generation: int
    #: The number of shards whose hits are here, the number of shards asked, and the names of the
    #: shards that failed.
    shards_answered: int
    shards_asked: int
    shards_failed: list[str]
    #: Whether the query's image was encoded at other sizes than the index.
    sizes_differ: bool
    #: Stage to its time on the server in microseconds.
    times_us: dict[str, int]
    #: For each column that was asked for, the values of the hits, (n,); None where an image has no
    #: value.
    attributes: dict[str, list[Attribute]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def of(response: search_pb2.SearchResponse) -> Hits:
        """The hits of a response."""
        times = response.times
        return Hits(
            ids=np.array(response.ids, dtype=np.uint64),
            scores=np.array(response.scores, dtype=np.float32),
            keys=list(response.keys),
            metric=_METRICS.get(response.metric, "unknown"),
            generation=response.generation,
            shards_answered=response.shards.answered,
            shards_asked=response.shards.asked,
            shards_failed=list(response.shards.failed),
            sizes_differ=response.sizes_differ,
            times_us={
                **{_stage(time.stage): time.us for time in times.stages},
                "total": times.total_us,
            },
            attributes=_attributes(response.attributes),
        )


@dataclass(eq=False)
class BatchHits:
    """Hits of n queries by column, best first, ties by smaller id."""

    #: (n, k); `NO_ID` behind a query's last hit.
    ids: npt.NDArray[np.uint64]
    #: (n, k); NaN behind a query's last hit.
    scores: npt.NDArray[np.float32]
    #: For each query its keys; empty lists if keys were not asked for.
    keys: list[list[str]]
    #: (n,): the generation of the index that answered; 0 where no answer came.
    generations: npt.NDArray[np.uint64]
    metric: Literal["inner_product", "l2", "unknown"] = "unknown"
    #: Row to why it has no hits.
    errors: dict[int, SearchError] = field(default_factory=dict)
    #: Names of shards that failed, where a partial answer was allowed.
    shards_failed: set[str] = field(default_factory=set)
    #: For each query the values of the columns that were asked for, as in `Hits.attributes`.
    attributes: list[dict[str, list[Attribute]]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def empty(n: int, k: int) -> BatchHits:
        """Without hits yet."""
        return BatchHits(
            ids=np.full((n, k), NO_ID),
            scores=np.full((n, k), np.nan, dtype=np.float32),
            keys=[[] for _ in range(n)],
            generations=np.zeros(n, dtype=np.uint64),
            attributes=[{} for _ in range(n)],
        )

    def fail_rest(self, error: SearchError) -> None:
        """Gives this error to every row that has neither hits nor an error."""
        for row in np.flatnonzero(self.generations == 0).tolist():
            self.errors.setdefault(row, error)

    def take(self, start: int, response: search_pb2.BatchSearchResponse) -> None:
        """Fills the rows from `start` on with the results of a response."""
        self.metric = _METRICS.get(response.metric, "unknown")
        self.shards_failed.update(response.shards.failed)
        for row, result in enumerate(response.results, start):
            self.generations[row] = response.generation
            if result.HasField("error"):
                code = _CODES.get(result.error.code, grpc.StatusCode.UNKNOWN)
                reason = reason_name(result.error.reason)
                self.errors[row] = SearchError(
                    code, result.error.message, reason=reason, field=result.error.field
                )
                continue
            self.ids[row, : len(result.ids)] = result.ids
            self.scores[row, : len(result.ids)] = result.scores
            self.keys[row] = list(result.keys)
            self.attributes[row] = _attributes(result.attributes)
