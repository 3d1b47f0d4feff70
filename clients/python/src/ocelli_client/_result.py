"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ._generated.ocelli.v1 import common_pb2, search_pb2


@dataclass(frozen=True, eq=False)
class Hits:
    """Hits by column, best first, ties by smaller id."""

    #: (n,)
    ids: npt.NDArray[np.uint64]
    #: (n,): inner products (larger is better) or squared L2 distances (smaller is better), as `metric` says.
    scores: npt.NDArray[np.float32]
    #: (n,) if keys were asked for, else empty.
    keys: list[str]
    metric: Literal["inner_product", "l2", "unknown"]
    #: The generation of the index that answered.
    generation: int
    #: Shards whose hits are here, of so many asked, and the names of those that failed.
    shards_answered: int
    shards_asked: int
    shards_failed: list[str]
    #: Whether the query's image was encoded at other sizes than the index.
    sizes_differ: bool
    #: Stage to its time on the server in microseconds.
    times_us: dict[str, int]

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def of(response: search_pb2.SearchResponse) -> Hits:
        """From what travelled."""
        metrics: dict[int, Literal["inner_product", "l2"]] = {
            common_pb2.METRIC_INNER_PRODUCT: "inner_product",
            common_pb2.METRIC_L2: "l2",
        }
        times = response.times
        return Hits(
            ids=np.array(response.ids, dtype=np.uint64),
            scores=np.array(response.scores, dtype=np.float32),
            keys=list(response.keys),
            metric=metrics.get(response.metric, "unknown"),
            generation=response.generation,
            shards_answered=response.shards.answered,
            shards_asked=response.shards.asked,
            shards_failed=list(response.shards.failed),
            sizes_differ=response.sizes_differ,
            times_us={
                field.name.removesuffix("_us"): getattr(times, field.name) for field in times.DESCRIPTOR.fields
            },
        )
