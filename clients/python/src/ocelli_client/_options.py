"""How a query is answered: the options of `Client.search` and its kin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypedDict, Union

from . import _query
from ._generated.ocelli.v1 import predicate_pb2, search_pb2
from ._query import Diffusion, Expansion, Id, Key

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Number of hits unless it is given.
DEFAULT_K = 10

Names = Iterable[Union[Id, Key, int, str]]


class SearchOptions(TypedDict, total=False):
    """The options of a search, all of which may be left out."""

    #: Number of hits, 1 or more; 10 if it is left out.
    k: int
    #: Lists scanned in each shard; 0: the server's default.
    nprobe: int
    #: Whether all lists are scanned.
    exact: bool
    #: Candidates that are scored again from finer codes; None: the server's default.
    refine_candidates: Union[int, None]
    #: Only hits that are at least as good: the smallest inner product, or the largest squared L2
    #: distance.
    score_threshold: Union[float, None]
    #: Only these images, by id (Id or int) or key (Key or str); None: all.
    allow: Union[Names, None]
    #: None of these images, by id or key.
    deny: Names
    #: Only images with such attributes, as text: ``width >= 640 and camera in ("a", "b")``; or the
    #: message; None: all.
    where: Union[str, predicate_pb2.Predicate, None]
    #: Query expansion; None: none.
    expansion: Union[Expansion, None]
    #: Ranking by diffusion; None: none.
    diffusion: Union[Diffusion, None]
    #: Whether hits have their keys; true if it is left out.
    with_keys: bool
    #: Whether hits may come from a part of the shards only, if others fail.
    allow_partial: bool
    #: Columns whose values hits have in `attributes`, ``["captured", "camera"]``; "*": all; None:
    #: none.
    attributes: Union[str, Iterable[str], None]


def message(**options: Unpack[SearchOptions]) -> search_pb2.SearchOptions:
    """The options as they travel.

    Raises TypeError for a name that is no option, and ValueError for a value out of range.
    """
    unknown = ", ".join(sorted(set(options) - set(SearchOptions.__annotations__)))
    if unknown:
        raise TypeError(f"unknown options: {unknown}")
    fields: dict[str, Any] = {"k": DEFAULT_K, "with_keys": True, **options}
    allow, deny = fields.pop("allow", None), _query.image_set(fields.pop("deny", ()))
    where = fields.pop("where", None)
    columns = fields.get("attributes")
    # A name alone is a list of one, and not of its letters.
    fields["attributes"] = [columns] if isinstance(columns, str) else list(columns or ())
    # Expansion and Diffusion have messages of their own; everything else is a field by its name.
    for name in ("expansion", "diffusion"):
        if fields.get(name) is not None:
            fields[name] = fields[name].message()
    made = search_pb2.SearchOptions(**fields)
    if allow is not None:
        made.filter.allow.CopyFrom(_query.image_set(allow))
    if deny.ids or deny.keys:
        made.filter.deny.CopyFrom(deny)
    if isinstance(where, str):
        made.filter.predicate.text = where
    elif where is not None:
        made.filter.predicate.CopyFrom(where)
    return made
