"""Client of the Ocelli image search server: vectors, ids, keys and photos in, hits as numpy arrays out.

from ocelli_client import Client, Key

with Client("127.0.0.1:7070") as client:
    hits = client.search(Key("Paris/tower.jpg"), k=20)
    print(hits.ids, hits.scores, hits.keys)
"""

from ._client import Client
from ._errors import SearchError
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
    "Term",
]
