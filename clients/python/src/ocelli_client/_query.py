"""The kinds of queries."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Union, cast

import numpy as np
import numpy.typing as npt

from ._generated.ocelli.v1 import common_pb2, diffusion_pb2, expansion_pb2, search_pb2


@dataclass(frozen=True)
class Id:
    """An indexed image, by id (below 2**63)."""

    id: int


@dataclass(frozen=True)
class Key:
    """An indexed image, by the key that it was given at build time."""

    key: str


@dataclass(frozen=True)
class Image:
    """A photo that the server has encoded: its bytes, or the path of its file."""

    source: Union[bytes, str, Path]
    #: x0, y0, x1, y1 of the part that is looked for, in pixels of the stored image; None: all of
    #: it.
    box: Union[tuple[float, float, float, float], None] = None
    #: Longest sides in pixels to encode at; empty: those of the index.
    sizes: Sequence[int] = ()


#: A descriptor (dim,), of any real dtype, or one of the above.
Vector = npt.NDArray[np.floating]
Query = Union[Vector, Sequence[float], Id, Key, Image]


@dataclass(frozen=True)
class Term:
    """One of several queries whose weighted mean is looked for."""

    query: Query
    weight: float = 1.0


@dataclass(frozen=True)
class Expansion:
    """Query expansion: the search is repeated with a query made of the query and its best hits."""

    method: Literal["average", "alpha"] = "average"
    #: Hits that go into the new query.
    k: int = 5
    #: Exponent of the similarity, for the method "alpha"; None: the server's default.
    alpha: Union[float, None] = None
    #: How often the search is repeated.
    rounds: int = 1

    def message(self) -> expansion_pb2.Expansion:
        """As it travels."""
        methods = {
            "average": expansion_pb2.EXPANSION_METHOD_AVERAGE,
            "alpha": expansion_pb2.EXPANSION_METHOD_ALPHA,
        }
        if self.method not in methods:
            raise ValueError(
                f"expansion method {self.method!r}: expected one of {', '.join(methods)}"
            )
        return expansion_pb2.Expansion(
            method=methods[self.method], k=self.k, alpha=self.alpha, rounds=self.rounds
        )


@dataclass(frozen=True)
class Diffusion:
    """Ranking by diffusion: a walk from the query along the neighbours of the best hits.

    The hits that the walk reaches best come first. Scores stay those of the search.
    """

    #: Hits of the search that take part; 0: the server's default, 200.
    candidates: int = 0
    #: Nearest neighbours of each that may be its neighbours in the graph; 0: the server's default,
    #: 10.
    neighbours: int = 0
    #: Hits nearest to the query where the walk begins; 0: the server's default, 5.
    query_neighbours: int = 0
    #: Exponent of similarities; None: the server's default, 3.
    gamma: Union[float, None] = None
    #: Share of a hit's score that flows on to its neighbours, 0 to less than 1; None: the server's
    #: default, 0.8.
    alpha: Union[float, None] = None

    def message(self) -> diffusion_pb2.Diffusion:
        """As it travels."""
        return diffusion_pb2.Diffusion(
            candidates=self.candidates,
            neighbours=self.neighbours,
            query_neighbours=self.query_neighbours,
            gamma=self.gamma,
            alpha=self.alpha,
        )


def values(vector: object) -> list[float]:
    """A descriptor as a list, checked."""
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        array = np.asarray(vector, dtype=np.float32)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"a query vector has shape {array.shape}; expected (dim,)")
    if not np.isfinite(array).all():
        raise ValueError("a query vector holds values that are not finite in float32")
    return [float(value) for value in array]


def is_finite(query: Union[Query, Term, Sequence[Term]]) -> bool:
    """Whether every vector of a query is finite in float32.

    True also for what is no vector at all: `values` refuses that.
    """
    if isinstance(query, (list, tuple)) and any(isinstance(part, Term) for part in query):
        return all(is_finite(part) for part in query)
    if isinstance(query, Term):
        return is_finite(query.query)
    if isinstance(query, (Id, Key, Image)):
        return True
    try:
        with np.errstate(over="ignore"):
            return bool(np.isfinite(np.asarray(query, dtype=np.float32)).all())
    except (TypeError, ValueError):
        return True


def terms(query: Union[Query, Term, Sequence[Term]]) -> list[search_pb2.QueryTerm]:
    """The terms of a query as they travel."""
    if isinstance(query, (list, tuple)) and any(isinstance(part, Term) for part in query):
        return [term(part) for part in query]
    return [term(cast("Union[Query, Term]", query))]


def term(query: Union[Query, Term]) -> search_pb2.QueryTerm:
    """One term as it travels."""
    if isinstance(query, Term):
        weighted = term(query.query)
        weighted.weight = query.weight
        return weighted
    if isinstance(query, Id):
        return search_pb2.QueryTerm(id=search_pb2.QueryId(id=query.id))
    if isinstance(query, Key):
        return search_pb2.QueryTerm(key=search_pb2.QueryKey(key=query.key))
    if isinstance(query, Image):
        data = query.source if isinstance(query.source, bytes) else Path(query.source).read_bytes()
        image = search_pb2.QueryImage(data=data, sizes=query.sizes)
        if query.box is not None:
            x0, y0, x1, y1 = query.box
            image.box.CopyFrom(common_pb2.Box(x0=x0, y0=y0, x1=x1, y1=y1))
        return search_pb2.QueryTerm(image=image)
    return search_pb2.QueryTerm(vector=search_pb2.QueryVector(values=values(query)))


def image_set(names: Iterable[Union[Id, Key, int, str]]) -> search_pb2.ImageSet:
    """Ids (Id or int) and keys (Key or str) as they travel."""
    if isinstance(names, (str, bytes, Id, Key)):
        raise TypeError(f"expected a list of ids and keys, found {names!r} alone")
    found = search_pb2.ImageSet()
    for name in names:
        if isinstance(name, Id):
            found.ids.append(name.id)
        elif isinstance(name, Key):
            found.keys.append(name.key)
        elif isinstance(name, str):
            found.keys.append(name)
        else:
            found.ids.append(operator.index(name))
    return found
