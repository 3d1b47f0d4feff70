"""Looks for photos like one of your own, or like an indexed one.

python search.py 127.0.0.1:7070 photo.jpg
python search.py 127.0.0.1:7070 key:Paris/tower.jpg
"""

import sys

from ocelli_client import Client, Image, Key, SearchError

target, what = sys.argv[1:]
query = Key(what.removeprefix("key:")) if what.startswith("key:") else Image(what)
try:
    with Client(target, timeout_s=30) as client:
        hits = client.search(query, k=10)
except SearchError as error:
    sys.exit(str(error))
for score, key in zip(hits.scores, hits.keys):
    print(f"{score:.4f}  {key}")
