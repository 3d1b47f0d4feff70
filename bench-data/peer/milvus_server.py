"""Milvus for `./bench serve`, in a Python environment of its own: fills it, writes what its client sends as bytes,
and serves until standard input ends. Prints its address when it is ready.

    milvus_server.py VECTORS OUT NPROBE K CORE
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
from milvus import default_server
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections
from pymilvus.client.prepare import Prepare

import vecs

folder, out, nprobe, k, core = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
base = vecs.mapped(folder / "base.fvecs")
queries = vecs.read(folder / "query.fvecs", np.float32)

default_server.set_base_dir(str(out / "milvus"))
default_server.start()
try:
    connections.connect(host="127.0.0.1", port=default_server.listen_port)
    fields = [
        FieldSchema("id", DataType.INT64, is_primary=True),
        FieldSchema("x", DataType.FLOAT_VECTOR, dim=base.shape[1]),
    ]
    collection = Collection("sift", CollectionSchema(fields), shards_num=1)
    for start in range(0, len(base), 50_000):
        rows = np.ascontiguousarray(base[start : start + 50_000])
        collection.insert([list(range(start, start + len(rows))), list(rows)])
    collection.flush()
    index = {"index_type": "IVF_PQ", "metric_type": "L2", "params": {"nlist": 2048, "m": 16, "nbits": 8}}
    collection.create_index("x", index)
    collection.load()
    params = {"metric_type": "L2", "params": {"nprobe": nprobe}}
    found = []
    for start in range(0, len(queries), 1000):
        hits = collection.search(list(queries[start : start + 1000]), "x", params, k)
        found += [[*h.ids, *[-1] * (k - len(h.ids))] for h in hits]
    vecs.write(out / "ids.ivecs", np.array(found, np.int32))

    def write(path, blocks):
        with open(path, "wb") as file:
            for block in blocks:
                request = Prepare.search_requests_with_expr("sift", list(block), "x", params, k, guarantee_timestamp=1)
                message = request.SerializeToString()
                file.write(len(message).to_bytes(4, "little") + message)

    write(out / "single.messages", (queries[i : i + 1] for i in range(2000)))
    write(out / "batch.messages", (queries[i : i + 1000] for i in range(0, len(queries), 1000)))
    # It was filled on all cores; what is measured has one.
    pid = str(default_server.server_proc.pid)
    subprocess.run(["taskset", "-a", "-c", "-p", core, pid], check=True, stdout=subprocess.DEVNULL)
    print(f"127.0.0.1:{default_server.listen_port}", flush=True)
    sys.stdin.read()
finally:
    default_server.stop()
