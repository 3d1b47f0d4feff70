"""PostgreSQL with pgvector for `./bench serve`, in a Python environment of its own. The last line
is one JSON object.

    postgres.py VECTORS DATABASE K RECALLS SERVER_CORE CLIENT_CORE

The vectors are copied into DATABASE once, on all cores, with both kinds of index that pgvector
has, made as its manual says. Then every process of the server is bound to one core and this one
to another. Each kind is asked with the least effort that reaches each of RECALLS (`.6,.8`), if one
does: one query at a time over one connection by a prepared statement with binary parameters; many
over that connection without waiting for answers (a pipeline); and 1,000 in one statement.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pgserver
import psycopg
from pgvector.psycopg import register_vector

import vecs

folder, database = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
k, wanted = int(sys.argv[3]), [float(recall) for recall in sys.argv[4].split(",")]
cores = [int(core) for core in sys.argv[5:7]]

SETTINGS = {
    "shared_buffers": "3GB",
    "maintenance_work_mem": "2GB",
    "max_wal_size": "8GB",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
# As pgvector's manual says: rows / 1000 lists; the defaults of m and ef_construction. Then the
# effort that is tried.
KINDS = {
    "ivfflat": ("WITH (lists = 1000)", "ivfflat.probes", (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)),
    "hnsw": ("", "hnsw.ef_search", (k, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320)),
}
SINGLES, ROUNDS, BATCH = 2000, 5, 1000
ONE = f"SELECT id FROM {{}} ORDER BY x <-> %s LIMIT {k}"
MANY = (
    "SELECT q.n, h.id FROM queries q, LATERAL "
    f"(SELECT id FROM {{}} ORDER BY x <-> q.x LIMIT {k}) h WHERE q.n < {BATCH}"
)


def say(text):
    print(text, flush=True)


def bind(pids, core):
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {core})


def rows(start, vectors):
    """Rows of COPY … WITH BINARY: a 4-byte id and pgvector's type."""
    dim = vectors.shape[1]
    fields = [
        ("n", ">i2"),
        ("a", ">i4"),
        ("id", ">i4"),
        ("b", ">i4"),
        ("dim", ">i2"),
        ("none", ">i2"),
        ("x", ">f4", dim),
    ]
    out = np.zeros(len(vectors), fields)
    out["n"], out["a"], out["id"] = 2, 4, np.arange(start, start + len(vectors))
    out["b"], out["dim"], out["x"] = 4 + 4 * dim, dim, vectors
    return out.tobytes()


def copy(connection, table, vectors):
    with connection.cursor().copy(f"COPY {table} FROM STDIN WITH (FORMAT binary)") as to:
        to.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for start in range(0, len(vectors), 20_000):
            to.write(rows(start, np.ascontiguousarray(vectors[start : start + 20_000])))
        to.write(b"\xff\xff")


def fill(connection):
    """Copies the vectors and makes the indexes that are not there."""
    there = {
        name
        for (name,) in connection.execute(
            "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'"
        )
    }
    base = vecs.mapped(folder / "base.fvecs")
    # A table for each kind: the planner has one index to choose.
    for kind, (how, _, _) in KINDS.items():
        if f"{kind}_x" in there:
            continue
        begun = time.time()
        connection.execute(f"DROP TABLE IF EXISTS {kind}")
        connection.execute(f"CREATE TABLE {kind} (id int4, x vector({base.shape[1]}))")
        copy(connection, kind, base)
        copied = time.time()
        connection.execute(f"CREATE INDEX {kind}_x ON {kind} USING {kind} (x vector_l2_ops) {how}")
        connection.execute(f"VACUUM ANALYZE {kind}")
        say(
            f"pgvector, {kind}: copied in {copied - begun:.0f} s, indexed in "
            f"{time.time() - copied:.0f} s, on all cores"
        )
    connection.execute("DROP TABLE IF EXISTS queries")
    connection.execute(f"CREATE TABLE queries (n int4, x vector({base.shape[1]}))")


def recall_of(connection, kind, queries, truth):
    with connection.pipeline():
        cursors = [
            connection.execute(ONE.format(kind), (q,), prepare=True, binary=True) for q in queries
        ]
        found = [[row[0] for row in cursor.fetchall()] for cursor in cursors]
    return float(np.mean([len(set(f) & set(t)) / k for f, t in zip(found, truth.tolist())]))


def timed_singles(connection, statement, queries):
    """Microseconds of each query, one after the other."""
    out = []
    cursor = connection.cursor(binary=True)
    for q in queries:
        begun = time.perf_counter()
        cursor.execute(statement, (q,) if "%s" in statement else None, prepare=True).fetchall()
        out.append(1e6 * (time.perf_counter() - begun))
    return out


def rate(connection, kind, queries):
    begun = time.perf_counter()
    with connection.pipeline():
        for cursor in [
            connection.execute(ONE.format(kind), (q,), prepare=True, binary=True) for q in queries
        ]:
            cursor.fetchall()
    return len(queries) / (time.perf_counter() - begun)


def batch_rate(connection, kind):
    begun = time.perf_counter()
    rows = connection.execute(MANY.format(kind), prepare=True, binary=True).fetchall()
    assert len(rows) == BATCH * k, len(rows)
    return BATCH / (time.perf_counter() - begun)


def efforts_of(connection, kind, queries, truth):
    """The least effort for each recall that is reached, and what it finds: {effort: recall}."""
    _, knob, efforts = KINDS[kind]
    out, left = {}, sorted(wanted)
    for effort in efforts:
        connection.execute(f"SET {knob} = {effort}")
        recall = recall_of(connection, kind, queries, truth)
        if left and recall >= left[0]:
            out[effort] = recall
            left = [w for w in left if w > recall]
        if not left:
            break
    return out


def timed(connection, kind, effort, queries):
    """A row of the result: medians of rounds."""
    connection.execute(f"SET {KINDS[kind][1]} = {effort}")
    empty, singles, rates, batches = [], [], [], []
    for _ in range(ROUNDS):
        empty += timed_singles(connection, "SELECT 1", queries)
        singles += timed_singles(connection, ONE.format(kind), queries)
        rates.append(rate(connection, kind, queries))
        batches.append(batch_rate(connection, kind))
    return {
        "kind": kind,
        "knob": f"{KINDS[kind][1]} = {effort}",
        "empty_p50_us": statistics.median(empty),
        "p50_us": statistics.median(singles),
        "p99_us": float(np.percentile(singles, 99)),
        "per_s": statistics.median(rates),
        "batch_per_s": statistics.median(batches),
        "index_bytes": connection.execute(f"SELECT pg_relation_size('{kind}_x')").fetchone()[0],
    }


def main():
    queries = vecs.read(folder / "query.fvecs", np.float32)
    truth = vecs.read(folder / "groundtruth.ivecs", np.int32)[:, :k]
    server = pgserver.get_server(database)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for name, value in SETTINGS.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    server.cleanup()
    server = pgserver.get_server(database)
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            (version,) = connection.execute("SHOW server_version").fetchone()
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            (vector,) = connection.execute(
                "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
            ).fetchone()
            register_vector(connection)
            fill(connection)
            copy(connection, "queries", queries[:BATCH])
            connection.execute("ANALYZE queries")
            # The server's processes, the one of this connection among them.
            leader = int((database / "postmaster.pid").read_text().split()[0])
            children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
            bind([leader, *map(int, children)], cores[0])
            os.sched_setaffinity(0, {cores[1]})
            rows = []
            for kind in KINDS:
                efforts = efforts_of(connection, kind, queries[:SINGLES], truth[:SINGLES])
                for effort, recall in efforts.items():
                    row = timed(connection, kind, effort, queries[:SINGLES])
                    rows.append({**row, "recall": recall})
            found = {"version": version, "pgvector": vector, "rows": rows}
    finally:
        server.cleanup()
    say(json.dumps(found))


main()
