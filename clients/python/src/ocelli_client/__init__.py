"""Client of the Ocelli image search server.

Queries are vectors, ids, keys and photos; hits come as numpy arrays.

from ocelli_client import Client, Key

with Client("127.0.0.1:7070") as client:
    hits = client.search(Key("Paris/tower.jpg"), k=20)
    print(hits.ids, hits.scores, hits.keys)
"""

from ._client import Client
from ._errors import SearchError
from ._options import SearchOptions
from ._query import Diffusion, Expansion, Id, Image, Key, Query, Term
from ._result import NO_ID, BatchHits, Hits
from ._retry import Retry

__all__ = [
    "NO_ID",
    "BatchHits",
    "Client",
    "Diffusion",
    "Expansion",
    "Hits",
    "Id",
    "Image",
    "Key",
    "Query",
    "Retry",
    "SearchError",
    "SearchOptions",
    "Term",
]
