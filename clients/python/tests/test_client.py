"""The client against a real server; ../check runs it with the programs of OCELLI_BIN."""

import os
import pickle
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Any, Sequence, Union, cast
from unittest import mock

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import trustme
from ocelli_client import (
    NO_ID,
    Client,
    Diffusion,
    Expansion,
    Id,
    Image,
    Key,
    Retry,
    SearchError,
    Term,
)
from ocelli_client._batch import Batch
from ocelli_client._generated.ocelli.v1 import common_pb2, search_pb2
from ocelli_client._window import Window

BIN = Path(os.environ["OCELLI_BIN"])
ROWS, DIM = 400, 16


def run(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{words}: {done.stderr}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    def __init__(
        self,
        index: Path,
        port: int = 0,
        settings: Union[dict[str, object], None] = None,
        **security: object,
    ) -> None:
        words = [
            BIN / "ocelli-searcher",
            "serve",
            "--index",
            f"rows={index}",
            "--listen",
            f"127.0.0.1:{port}",
        ]
        named = {f"SECURITY__{key}": value for key, value in security.items()} | (settings or {})
        changed = {f"OCELLI_SEARCHER_{key.upper()}": str(value) for key, value in named.items()}
        quiet, env = subprocess.DEVNULL, os.environ | changed
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=quiet, text=True, env=env
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "listening on " not in line:
            self.stop()
            raise AssertionError(f"the server said {line!r}")
        self.target = line.split()[-1]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()


class ClientTest(unittest.TestCase):
    folder: tempfile.TemporaryDirectory[str]
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        root = Path(cls.folder.name)
        rng = np.random.default_rng(5)
        cls.rows = rng.standard_normal((ROWS, DIM)).astype(np.float32)
        table = pa.table(
            {
                "key": [f"photo{i}.jpg" for i in range(ROWS)],
                "vector": list(cls.rows),
                "camera": [None if i % 3 == 0 else f"c{i % 3}" for i in range(ROWS)],
                "rating": [i / 2 for i in range(ROWS)],
                "public": [i % 2 == 0 for i in range(ROWS)],
                "digest": [f"{i:016x}" for i in range(ROWS)],
            }
        )
        parquet.write_table(table, root / "rows.parquet")
        part, model, cls.index = root / "rows.part", root / "rows.model", root / "rows.index"
        importing = [
            BIN / "ocelli",
            "import",
            "vectors",
            root / "rows.parquet",
            "--key-column",
            "key",
        ]
        for column in ("camera", "rating", "public", "digest:bytes8"):
            importing += ["--attribute-column", column]
        run(*importing, "--spec", "foreign:rows", "--out", part)
        run(BIN / "ocelli", "train", part, "--out", model, "--m", 16, "--nlist", 4, "--force")
        run(BIN / "ocelli", "build", part, "--model", model, "--shards", 2, "--out", cls.index)
        cls.server = Server(cls.index)
        cls.client = Client(cls.server.target)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.client.close()
        cls.server.stop()
        cls.folder.cleanup()

    def test_a_vector_finds_its_own_row_in_arrays(self) -> None:
        hits = self.client.search(self.rows[17].astype(np.float64), k=5, nprobe=4)
        self.assertEqual(
            (hits.ids.dtype, hits.scores.dtype), (np.dtype(np.uint64), np.dtype(np.float32))
        )
        self.assertEqual((len(hits), hits.ids[0], hits.keys[0]), (5, 17, "photo17.jpg"))
        self.assertTrue((np.diff(hits.scores) >= 0).all())
        self.assertEqual((hits.metric, hits.generation), ("l2", 1))
        self.assertEqual((hits.shards_answered, hits.shards_asked, hits.shards_failed), (2, 2, []))
        self.assertGreater(hits.times_us["total"], 0)

    def test_ids_keys_and_weighted_terms(self) -> None:
        by_id, by_key = self.client.search(Id(3)), self.client.search(Key("photo3.jpg"))
        np.testing.assert_array_equal(by_id.ids, by_key.ids)
        mean = (3 * self.rows[1] + self.rows[2]) / 4
        both = self.client.search([Term(self.rows[1], 3.0), Term(self.rows[2])], k=10, nprobe=4)
        np.testing.assert_array_equal(both.ids, self.client.search(mean, k=10, nprobe=4).ids)
        bare = self.client.search(Id(3), with_keys=False)
        self.assertEqual((bare.keys, len(bare)), ([], 10))

    def test_filters_and_expansion(self) -> None:
        few = self.client.search(
            self.rows[5], allow=[5, "photo6.jpg", Key("photo7.jpg")], deny=[Id(6)]
        )
        self.assertEqual(list(few.ids[:1]), [5])
        self.assertEqual(sorted(few.ids), [5, 7])
        plain = self.client.search(self.rows[5], nprobe=4)
        expanded = self.client.search(
            self.rows[5], nprobe=4, expansion=Expansion("average", k=3, rounds=2)
        )
        self.assertEqual(len(expanded), 10)
        self.assertFalse(np.array_equal(plain.scores, expanded.scores))
        # The same hits in another order, each with the score of the search.
        diffused = self.client.search(
            self.rows[5], nprobe=4, diffusion=Diffusion(candidates=10, neighbours=3)
        )
        self.assertEqual(
            dict(zip(diffused.ids, diffused.scores)), dict(zip(plain.ids, plain.scores))
        )
        batch = self.client.search_batch(
            self.rows[5:6], nprobe=4, diffusion=Diffusion(candidates=10, neighbours=3)
        )
        np.testing.assert_array_equal(batch.ids[0], diffused.ids)

    def test_hits_carry_attributes(self) -> None:
        def expected(ids: Sequence[int]) -> dict[str, list[object]]:
            return {
                "camera": [None if i % 3 == 0 else f"c{i % 3}" for i in ids],
                "digest": [i.to_bytes(8, "big") for i in ids],
                "public": [i % 2 == 0 for i in ids],
                "rating": [i / 2 for i in ids],
            }

        hits = self.client.search(self.rows[17], k=5, nprobe=4, attributes="*")
        self.assertEqual(hits.attributes, expected([int(i) for i in hits.ids]))
        self.assertEqual([type(value) for value in hits.attributes["public"]], [bool] * 5)
        few = self.client.search(Id(3), attributes=["rating", "camera"], where="rating >= 5")
        self.assertEqual([*few.attributes], ["rating", "camera"])
        self.assertTrue(all(cast("float", rating) >= 5 for rating in few.attributes["rating"]))
        self.assertEqual(self.client.search(Id(3)).attributes, {})
        batch = self.client.search_batch(self.rows[:25], k=5, nprobe=4, batch=10, attributes="*")
        for ids, attributes in zip(batch.ids, batch.attributes):
            self.assertEqual(attributes, expected([int(i) for i in ids]))
        with self.assertRaises(SearchError) as caught:
            self.client.search(Id(3), attributes=["height"])
        self.assertEqual(
            (caught.exception.code, caught.exception.field),
            (grpc.StatusCode.INVALID_ARGUMENT, "options.attributes"),
        )
        self.assertIn("camera (string)", caught.exception.message)

    def test_many_queries_are_answered_in_their_order(self) -> None:
        found = [
            int(hits.ids[0])
            for hits in self.client.search_many(self.rows[:100], k=1, nprobe=4, in_flight=7)
        ]
        single = [int(self.client.search(row, k=1, nprobe=4).ids[0]) for row in self.rows[:100]]
        self.assertEqual(found, single)
        # Queries are taken as answers go.
        taken: list[int] = []

        def endless():  # type: ignore[no-untyped-def]
            while True:
                taken.append(1)
                yield Id(1)

        answers = self.client.search_many(endless(), in_flight=4)
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        self.assertLessEqual(len(taken), 6)

    def test_a_batch_answers_as_its_queries_do(self) -> None:
        batch = self.client.search_batch(self.rows[:25], k=5, nprobe=4, batch=10, deny=[3])
        self.assertEqual(
            (batch.ids.shape, batch.scores.shape, len(batch.keys)), ((25, 5), (25, 5), 25)
        )
        self.assertEqual(
            (batch.errors, batch.shards_failed, set(batch.generations)), ({}, set(), {1})
        )
        for row in range(25):
            single = self.client.search(self.rows[row], k=5, nprobe=4, deny=[3])
            np.testing.assert_array_equal(batch.ids[row], single.ids)
            np.testing.assert_array_equal(batch.scores[row], single.scores)
            self.assertEqual((batch.keys[row], batch.metric), (single.keys, single.metric))
        # One that fails fails alone, and places without a hit say so.
        mixed = self.client.search_batch(
            [Id(1), Key("nobody.jpg"), [Term(Id(2))]], k=2, allow=[1], with_keys=False
        )
        self.assertEqual([*mixed.errors], [1])
        self.assertEqual(
            (mixed.errors[1].code, mixed.errors[1].reason),
            (grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND"),
        )
        self.assertEqual([int(mixed.ids[0, 0]), int(mixed.ids[2, 0])], [1, 1])
        self.assertTrue((mixed.ids[:, 1] == NO_ID).all() and np.isnan(mixed.scores[:, 1]).all())
        self.assertEqual(mixed.keys, [[], [], []])
        with self.assertRaises(SearchError) as caught:
            self.client.search_batch(self.rows[:3], k=10**6)
        self.assertEqual(caught.exception.code, grpc.StatusCode.INVALID_ARGUMENT)
        with self.assertRaises(ValueError):
            self.client.search_batch(self.rows[0])
        self.assertEqual(len(self.client.search_batch(np.zeros((0, DIM)))), 0)

    def test_what_is_wrong_is_said(self) -> None:
        with self.assertRaises(SearchError) as caught:
            self.client.search(self.rows[0][:5])
        self.assertEqual(
            (caught.exception.code, caught.exception.attempts),
            (grpc.StatusCode.INVALID_ARGUMENT, 1),
        )
        self.assertIn("16", caught.exception.message)
        self.assertEqual(
            (caught.exception.reason, caught.exception.field),
            ("DIMENSION_MISMATCH", "terms[0].vector.values"),
        )
        self.assertIsNone(caught.exception.retry_after_s)
        with self.assertRaises(SearchError) as caught:
            self.client.search(Key("nobody.jpg"))
        self.assertEqual(caught.exception.code, grpc.StatusCode.NOT_FOUND)
        with self.assertRaises(SearchError) as caught:
            self.client.search(Image(b"no photo"))
        self.assertEqual(caught.exception.code, grpc.StatusCode.FAILED_PRECONDITION)
        for bad in (
            np.zeros((2, DIM)),
            np.array([]),
            np.array([np.nan] * DIM),
            np.array([1e39] * DIM),
        ):
            with self.assertRaises(ValueError):
                self.client.search(bad)
        with self.assertRaises(ValueError):
            list(self.client.search_many(self.rows[0]))

    def test_a_server_that_comes_late_is_waited_for_within_the_deadline(self) -> None:
        port = free_port()
        started: list[Server] = []
        timer = threading.Timer(0.7, lambda: started.append(Server(self.index, port)))
        timer.start()
        retry = Retry(attempts=1000, first_backoff_s=0.1, max_backoff_s=0.2)
        # gRPC's own pauses between connections are longer than this test.
        with Client(f"127.0.0.1:{port}", retry=retry, timeout_s=30) as late:
            self.assertEqual(late.search(Id(8), k=3).generation, 1)
        timer.join()
        started[0].stop()
        begin = time.monotonic()
        with (
            Client(f"127.0.0.1:{port}", retry=retry, timeout_s=0.5) as nobody,
            self.assertRaises(SearchError) as caught,
        ):
            nobody.search(Id(8))
        self.assertLess(time.monotonic() - begin, 5)
        self.assertIn(
            caught.exception.code, (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        )

    def test_certificates_and_tokens(self) -> None:
        root = Path(self.folder.name)
        authority, of_clients = trustme.CA(), trustme.CA()
        own = authority.issue_cert("127.0.0.1")
        own.cert_chain_pems[0].write_to_path(root / "server.pem")
        own.private_key_pem.write_to_path(root / "server.key")
        of_clients.cert_pem.write_to_path(root / "clients.pem")
        drawing = [
            str(BIN / "ocelli-searcher"),
            "token",
            "--name",
            "web",
            "--role",
            "search",
            "--out",
            str(root / "web"),
        ]
        (root / "tokens").write_bytes(
            subprocess.run(drawing, check=True, capture_output=True).stdout
        )
        server = Server(
            self.index,
            tls_cert=root / "server.pem",
            tls_key=root / "server.key",
            tls_client_ca=root / "clients.pem",
            tokens_file=root / "tokens",
        )
        self.addCleanup(server.stop)
        shown = of_clients.issue_cert("web.example")
        foreign = authority.issue_cert("web.example")
        token = (root / "web").read_text().strip()

        def code_with(**changes: Any) -> grpc.StatusCode:
            options: dict[str, Any] = {
                "token": token,
                "ca": authority.cert_pem.bytes(),
                "client_cert": shown.cert_chain_pems[0].bytes(),
                "client_key": shown.private_key_pem.bytes(),
            }
            # A connection that fails is not waited for.
            with Client(
                server.target, retry=Retry(attempts=1), timeout_s=30, **(options | changes)
            ) as client:
                try:
                    self.assertEqual(client.search(Id(8), k=3).ids[0], 8)
                except SearchError as error:
                    return error.code
            return grpc.StatusCode.OK

        self.assertEqual(code_with(), grpc.StatusCode.OK)
        self.assertEqual(code_with(token=None), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(code_with(token=token[:-1]), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(code_with(ca=of_clients.cert_pem.bytes()), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(code_with(client_cert=None, client_key=None), grpc.StatusCode.UNAVAILABLE)
        cert, key = foreign.cert_chain_pems[0].bytes(), foreign.private_key_pem.bytes()
        self.assertEqual(code_with(client_cert=cert, client_key=key), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(
            code_with(ca=None, client_cert=None, client_key=None), grpc.StatusCode.UNAVAILABLE
        )
        with self.assertRaises(ValueError):
            Client(server.target, client_cert=cert, client_key=key)

    def test_a_rate_is_waited_for_as_long_as_the_server_says(self) -> None:
        root = Path(self.folder.name)
        drawing = [
            str(BIN / "ocelli-searcher"),
            "token",
            "--name",
            "slow",
            "--role",
            "search",
            "--out",
            str(root / "slow"),
        ]
        drawing += ["--rate-per-s", "2", "--burst", "1"]
        (root / "rates").write_bytes(
            subprocess.run(drawing, check=True, capture_output=True).stdout
        )
        server = Server(self.index, tokens_file=root / "rates")
        self.addCleanup(server.stop)
        token = (root / "slow").read_text().strip()
        # Its own pauses are over long before the server wants to hear of it again.
        patient = Retry(attempts=3, first_backoff_s=0.001, max_backoff_s=0.001)
        with Client(server.target, token=token, retry=patient, timeout_s=30) as client:
            client.search(Id(8))
            begin = time.monotonic()
            self.assertEqual(client.search(Id(8), k=3).ids[0], 8)
            self.assertGreater(time.monotonic() - begin, 0.3)
        with (
            Client(server.target, token=token, retry=Retry(attempts=1)) as client,
            self.assertRaises(SearchError) as caught,
        ):
            for _ in range(3):
                client.search(Id(8))
        self.assertEqual(
            (caught.exception.code.name, caught.exception.reason),
            ("RESOURCE_EXHAUSTED", "RATE_LIMITED"),
        )
        self.assertTrue(0 < (caught.exception.retry_after_s or 0) <= 0.5)

    def test_addresses_have_a_scheme_or_none(self) -> None:
        for address in (
            f"http://{self.server.target}",
            f"HTTP://{self.server.target}/",
            self.server.target,
        ):
            with Client(address) as client:
                self.assertEqual(client.search(Id(3), k=1).ids[0], 3)
        root = Path(self.folder.name)
        authority = trustme.CA()
        own = authority.issue_cert("127.0.0.1")
        own.cert_chain_pems[0].write_to_path(root / "https.pem")
        own.private_key_pem.write_to_path(root / "https.key")
        server = Server(self.index, tls_cert=root / "https.pem", tls_key=root / "https.key")
        self.addCleanup(server.stop)
        with Client(f"https://{server.target}", ca=authority.cert_pem.bytes()) as client:
            self.assertEqual(client.search(Id(3), k=1).ids[0], 3)
        wrongs = (
            "",
            "host",
            "127.0.0.1",
            "ftp://host:1",
            "http://",
            "http://host",
            "http://host:port",
        )
        for wrong in (*wrongs, "https://host:1/path", "http://me@host:1"):
            with self.assertRaises(ValueError):
                Client(wrong)
        with self.assertRaises(ValueError):
            Client(f"http://{server.target}", ca=authority.cert_pem.bytes())

    def test_a_proxy_is_not_asked_for_this_machine(self) -> None:
        with mock.patch.dict(os.environ, {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}):
            for target in (self.server.target, f"ipv4:{self.server.target}"):
                with Client(target, retry=Retry(attempts=1)) as client:
                    self.assertEqual(client.search(Id(3), k=1).ids[0], 3)

    def test_what_cannot_work_is_refused_before_a_call(self) -> None:
        for wrong in ("", "two words", "caf\u00e9", "a\nb"):
            with self.assertRaisesRegex(ValueError, "token: "):
                Client(self.server.target, token=wrong)
        with self.assertRaisesRegex(ValueError, "belong together"):
            Client(self.server.target, ca=b"x", client_cert=b"y")
        with Client(self.server.target, token="a-token\n") as client:
            self.assertEqual(client.search(Id(3), k=1).ids[0], 3)
            for names in ("a.jpg", Key("a.jpg"), Id(1)):
                with self.assertRaisesRegex(TypeError, "a list of ids and keys"):
                    client.search(Id(3), deny=names)  # type: ignore[arg-type]
            with self.assertRaises(TypeError):
                client.search(Id(3), allow=[1.9])  # type: ignore[list-item]
            with self.assertRaisesRegex(ValueError, "k is 0"):
                client.search_batch([Id(3)], k=0)

    def test_a_pickled_client_connects_anew(self) -> None:
        client = pickle.loads(pickle.dumps(Client(self.server.target, timeout_s=7)))
        with client:
            self.assertEqual(client.search(Id(3), k=1).ids[0], 3)

    def test_rows_that_are_not_finite_are_named(self) -> None:
        rows = np.tile(self.rows, (13, 1))
        rows[17, 3], rows[4500, 0] = np.nan, np.inf
        with self.assertRaisesRegex(ValueError, "rows 17, 4500 of"):
            self.client.search_batch(rows)
        with self.assertRaisesRegex(ValueError, "row 2 of"):
            self.client.search_batch(
                [Id(1), self.rows[0], [Term(self.rows[0]), Term([np.nan] * DIM)]]
            )
        with self.assertRaisesRegex(ValueError, "rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 15 more of"):
            self.client.search_batch(np.full((25, DIM), 1e39))
        with self.assertRaisesRegex(ValueError, "query 1: "):
            list(self.client.search_many([Id(1), np.full(DIM, np.nan)]))

    def test_a_batch_of_which_every_row_is_wrong_raises(self) -> None:
        with self.assertRaises(SearchError) as caught:
            self.client.search_batch(np.zeros((25, DIM + 1)), batch=10)
        self.assertIn("all 25 queries failed; row 0: ", caught.exception.message)
        self.assertEqual(
            (caught.exception.reason, caught.exception.field),
            ("DIMENSION_MISMATCH", "terms[0].vector.values"),
        )
        assert caught.exception.hits is not None
        self.assertEqual([*caught.exception.hits.errors], list(range(25)))

    def test_errors_of_a_batch_are_in_the_order_of_its_rows(self) -> None:
        last_is_back = threading.Event()

        def send(request: search_pb2.BatchSearchRequest) -> search_pb2.BatchSearchResponse:
            # The first part ends after the last.
            if request.queries[0].terms[0].id.id == 0:
                self.assertTrue(last_is_back.wait(timeout=60))
            else:
                last_is_back.set()
            failed = search_pb2.BatchResult(error=common_pb2.ItemError(code=3, message="bad"))
            return search_pb2.BatchSearchResponse(results=[failed] * len(request.queries))

        def make(queries: Sequence[list[search_pb2.QueryTerm]]) -> search_pb2.BatchSearchRequest:
            return search_pb2.BatchSearchRequest(
                queries=[search_pb2.BatchQuery(terms=terms) for terms in queries]
            )

        batch = Batch([Id(row) for row in range(20)], 1, make, send, 1 << 20)
        with self.assertRaises(SearchError) as caught:
            batch.run(10, 2, False)
        assert caught.exception.hits is not None
        self.assertEqual([*caught.exception.hits.errors], list(range(20)))

    def test_one_wrong_row_of_a_batch_is_named(self) -> None:
        rows = self.rows[:25].copy()
        rows[7] = 3e38
        some = self.client.search_batch(rows, batch=10)
        self.assertEqual([*some.errors], [7])
        self.assertIn("1e15", some.errors[7].message)

    def test_what_came_back_is_kept_when_a_later_part_fails(self) -> None:
        server = Server(self.index, settings={"max_message_bytes": 20_000})
        self.addCleanup(server.stop)
        queries: list[Any] = [*self.rows[:25], Key("x" * 30_000), *self.rows[25:50]]
        with Client(server.target) as client, self.assertRaises(SearchError) as caught:
            client.search_batch(queries, k=3, nprobe=4, batch=10, in_flight=1)
        self.assertEqual(
            (caught.exception.code, caught.exception.attempts), (grpc.StatusCode.OUT_OF_RANGE, 1)
        )
        kept = caught.exception.hits
        assert kept is not None
        # The parts before it, what fitted of its own, and what was on its way already.
        answered = [row for row in range(51) if row not in kept.errors]
        self.assertEqual(answered[:25], list(range(25)))
        self.assertNotIn(25, answered)
        whole = self.client.search_batch([*self.rows[:25], Id(0), *self.rows[25:50]], k=3, nprobe=4)
        np.testing.assert_array_equal(kept.ids[answered], whole.ids[answered])
        self.assertTrue((np.delete(kept.ids, answered, axis=0) == NO_ID).all())

    def test_batches_are_cut_until_requests_and_answers_fit(self) -> None:
        rows = np.tile(self.rows, (2, 1))
        whole = self.client.search_batch(rows, k=40, nprobe=4)
        server = Server(self.index, settings={"max_message_bytes": 20_000})
        self.addCleanup(server.stop)
        small = Client(server.target, max_message_bytes=20_000)
        unaware = Client(server.target)
        own = Client(self.server.target, max_message_bytes=20_000)
        for client in (small, unaware, own):
            with client:
                cut = client.search_batch(rows, k=40, nprobe=4)
            np.testing.assert_array_equal(cut.ids, whole.ids)
            np.testing.assert_array_equal(cut.scores, whole.scores)
            self.assertEqual((cut.keys, cut.errors), (whole.keys, {}))

    def test_what_is_too_large_is_never_repeated(self) -> None:
        server = Server(self.index, settings={"max_message_bytes": 3000})
        self.addCleanup(server.stop)
        with Client(server.target) as client, self.assertRaises(SearchError) as caught:
            client.search(self.rows[0], k=ROWS, exact=True)
        self.assertEqual(
            (caught.exception.attempts, caught.exception.reason), (1, "ANSWER_TOO_LARGE")
        )
        self.assertIn("fewer hits (k)", caught.exception.message)
        with (
            Client(self.server.target, max_message_bytes=3000) as client,
            self.assertRaises(SearchError) as caught,
        ):
            client.search(self.rows[0], k=ROWS, exact=True)
        self.assertEqual(
            (caught.exception.attempts, caught.exception.code.name), (1, "RESOURCE_EXHAUSTED")
        )

    def test_no_more_are_in_flight_than_the_server_holds(self) -> None:
        # One may run and one wait, neither for long.
        server = Server(self.index, settings={"threads": 1, "max_queued": 1, "max_queue_ms": 1})
        self.addCleanup(server.stop)
        rows = np.tile(self.rows, (4, 1))
        whole = self.client.search_batch(rows, k=100, exact=True)
        with Client(server.target, timeout_s=120) as client:
            found = client.search_batch(rows, k=100, exact=True, batch=100, in_flight=16)
            np.testing.assert_array_equal(found.ids, whole.ids)
            self.assertEqual(found.errors, {})
            many = client.search_many(self.rows, k=100, exact=True, in_flight=16)
            np.testing.assert_array_equal([hits.ids for hits in many], whole.ids[:ROWS])

    def test_options_travel(self) -> None:
        from ocelli_client._client import _request

        request = _request(
            [Term(Id(1), -0.5), Term(Key("a"))],
            allow=[1, Id(2), "x", Key("y")],
            deny=[3],
            expansion=Expansion("alpha", k=7, alpha=2.5, rounds=2),
            diffusion=Diffusion(candidates=30, alpha=0.5),
            k=4,
            exact=True,
            score_threshold=0.25,
        )
        self.assertEqual([term.weight for term in request.terms], [-0.5, 1.0])
        options = request.options
        self.assertEqual((options.k, options.with_keys), (4, True))
        self.assertEqual(
            (list(options.filter.allow.ids), list(options.filter.allow.keys)), ([1, 2], ["x", "y"])
        )
        self.assertEqual(list(options.filter.deny.ids), [3])
        self.assertEqual(
            (options.expansion.k, options.expansion.alpha, options.expansion.rounds), (7, 2.5, 2)
        )
        self.assertEqual((options.diffusion.candidates, options.diffusion.alpha), (30, 0.5))
        self.assertFalse(options.diffusion.HasField("gamma"))
        self.assertTrue(options.exact)
        self.assertEqual(options.score_threshold, 0.25)
        none = _request(Id(1), allow=None, deny=(), expansion=None).options
        self.assertFalse(
            none.HasField("filter")
            or none.HasField("expansion")
            or none.HasField("score_threshold")
        )
        self.assertEqual((none.k, none.with_keys), (10, True))
        named = _request(Id(1), attributes=("a", "b")).options
        self.assertEqual(list(named.attributes), ["a", "b"])
        self.assertEqual(list(_request(Id(1), attributes="abc").options.attributes), ["abc"])
        self.assertEqual(list(none.attributes), [])
        self.assertEqual(list(_request(Id(1), attributes=None).options.attributes), [])
        where = _request(Id(1), where="width > 5").options
        self.assertEqual(where.filter.predicate.text, "width > 5")
        self.assertFalse(where.filter.HasField("allow"))
        same = _request(Id(1), where=where.filter.predicate).options
        self.assertEqual(same.filter, where.filter)
        empty = _request(Id(1), allow=[], deny=(), expansion=None).options
        self.assertTrue(empty.filter.HasField("allow"))
        with self.assertRaisesRegex(TypeError, "unknown options: refine"):
            _request(Id(1), **cast("Any", {"refine": 5}))


class RetryTest(unittest.TestCase):
    def test_pauses_grow_up_to_their_limit(self) -> None:
        retry = Retry(attempts=9, first_backoff_s=0.1, max_backoff_s=0.35, multiplier=2)
        for attempt, longest in ((1, 0.1), (2, 0.2), (3, 0.35), (8, 0.35)):
            drawn = [retry.pause_s(attempt) for _ in range(200)]
            self.assertTrue(0 <= min(drawn) and longest / 2 < max(drawn) <= longest)
        with self.assertRaises(ValueError):
            Retry(attempts=0)

    def test_attempts_go_on_to_the_deadline(self) -> None:
        def failed(
            attempts: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, **more: Any
        ) -> SearchError:
            return SearchError(code, "no", attempts, **more)

        left, pauses = 10.0, []
        while (pause := Retry().next_pause_s(failed(len(pauses) + 1), left)) is not None:
            self.assertLessEqual(pause, left / 2)
            # An attempt takes no time at all here.
            left -= pause + 1e-4
            pauses.append(pause)
        self.assertTrue(len(pauses) > 4 and left < 0.01, (pauses, left))
        self.assertIsNone(Retry(attempts=3).next_pause_s(failed(3), 10))
        exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
        self.assertIsNotNone(Retry().next_pause_s(failed(1, exhausted, reason="OVERLOADED"), 10))
        for final in (
            failed(1, exhausted),
            failed(1, grpc.StatusCode.OUT_OF_RANGE),
            failed(1, grpc.StatusCode.INTERNAL),
        ):
            self.assertIsNone(Retry().next_pause_s(final, 10))
        # The time that the server names is kept, or nothing is sent at all.
        limited = failed(1, exhausted, reason="RATE_LIMITED", retry_after_s=8.0)
        self.assertGreaterEqual(Retry().next_pause_s(limited, 10) or 0, 8)
        self.assertIsNone(Retry().next_pause_s(limited, 8))


class WindowTest(unittest.TestCase):
    def test_refusals_shrink_it_and_answers_widen_it(self) -> None:
        window = Window(4)
        for _ in range(3):
            window.enter()
        refused = threading.Thread(target=window.step_back)
        refused.start()
        refused.join(0.05)
        self.assertTrue(refused.is_alive(), "two are there, which is what the server holds")
        window.leave(False)
        refused.join(30)
        self.assertFalse(refused.is_alive())
        window.leave(False)
        self.assertFalse(window.step_back(), "it is alone")
        window.leave(True)
        for _ in range(20):
            window.enter()
            window.leave(True)
        for _ in range(4):
            window.enter()


if __name__ == "__main__":
    unittest.main()
