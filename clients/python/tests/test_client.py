"""The client against a real server. Run by ../check, which says where the programs are (OCELLI_BIN)."""

import os
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import trustme
from ocelli_client import NO_ID, Client, Diffusion, Expansion, Id, Image, Key, Retry, SearchError, Term

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
    def __init__(self, index: Path, port: int = 0, **security: object) -> None:
        words = [BIN / "ocelli-searcher", "serve", "--index", f"rows={index}", "--listen", f"127.0.0.1:{port}"]
        settings = {f"OCELLI_SEARCHER_SECURITY__{key.upper()}": str(value) for key, value in security.items()}
        quiet, env = subprocess.DEVNULL, os.environ | settings
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=quiet, text=True, env=env)
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
        table = pa.table({"key": [f"photo{i}.jpg" for i in range(ROWS)], "vector": list(cls.rows)})
        parquet.write_table(table, root / "rows.parquet")
        part, model, cls.index = root / "rows.part", root / "rows.model", root / "rows.index"
        importing = [BIN / "ocelli", "import", "vectors", root / "rows.parquet", "--key-column", "key"]
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
        self.assertEqual((hits.ids.dtype, hits.scores.dtype), (np.dtype(np.uint64), np.dtype(np.float32)))
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
        few = self.client.search(self.rows[5], allow=[5, "photo6.jpg", Key("photo7.jpg")], deny=[Id(6)])
        self.assertEqual(list(few.ids[:1]), [5])
        self.assertEqual(sorted(few.ids), [5, 7])
        plain = self.client.search(self.rows[5], nprobe=4)
        expanded = self.client.search(self.rows[5], nprobe=4, expansion=Expansion("average", k=3, rounds=2))
        self.assertEqual(len(expanded), 10)
        self.assertFalse(np.array_equal(plain.scores, expanded.scores))
        # The same hits in another order, each with the score of the search.
        diffused = self.client.search(self.rows[5], nprobe=4, diffusion=Diffusion(candidates=10, neighbours=3))
        self.assertEqual(dict(zip(diffused.ids, diffused.scores)), dict(zip(plain.ids, plain.scores)))
        batch = self.client.search_batch(self.rows[5:6], nprobe=4, diffusion=Diffusion(candidates=10, neighbours=3))
        np.testing.assert_array_equal(batch.ids[0], diffused.ids)

    def test_many_queries_are_answered_in_their_order(self) -> None:
        found = [int(hits.ids[0]) for hits in self.client.search_many(self.rows[:100], k=1, nprobe=4, in_flight=7)]
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
        self.assertEqual((batch.ids.shape, batch.scores.shape, len(batch.keys)), ((25, 5), (25, 5), 25))
        self.assertEqual((batch.errors, batch.shards_failed, set(batch.generations)), ({}, set(), {1}))
        for row in range(25):
            single = self.client.search(self.rows[row], k=5, nprobe=4, deny=[3])
            np.testing.assert_array_equal(batch.ids[row], single.ids)
            np.testing.assert_array_equal(batch.scores[row], single.scores)
            self.assertEqual((batch.keys[row], batch.metric), (single.keys, single.metric))
        # One that fails fails alone, and places without a hit say so.
        mixed = self.client.search_batch([Id(1), Key("nobody.jpg"), [Term(Id(2))]], k=2, allow=[1], with_keys=False)
        self.assertEqual([*mixed.errors], [1])
        self.assertEqual((mixed.errors[1].code, mixed.errors[1].reason), (grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND"))
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
        self.assertEqual((caught.exception.code, caught.exception.attempts), (grpc.StatusCode.INVALID_ARGUMENT, 1))
        self.assertIn("16", caught.exception.message)
        self.assertEqual((caught.exception.reason, caught.exception.field), ("DIMENSION_MISMATCH", "terms[0].vector.values"))
        self.assertIsNone(caught.exception.retry_after_s)
        with self.assertRaises(SearchError) as caught:
            self.client.search(Key("nobody.jpg"))
        self.assertEqual(caught.exception.code, grpc.StatusCode.NOT_FOUND)
        with self.assertRaises(SearchError) as caught:
            self.client.search(Image(b"no photo"))
        self.assertEqual(caught.exception.code, grpc.StatusCode.FAILED_PRECONDITION)
        for bad in (np.zeros((2, DIM)), np.array([]), np.array([np.nan] * DIM), np.array([1e39] * DIM)):
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
        with Client(f"127.0.0.1:{port}", retry=retry, timeout_s=0.5) as nobody, self.assertRaises(SearchError) as caught:
            nobody.search(Id(8))
        self.assertLess(time.monotonic() - begin, 5)
        self.assertIn(caught.exception.code, (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED))

    def test_certificates_and_tokens(self) -> None:
        root = Path(self.folder.name)
        authority, of_clients = trustme.CA(), trustme.CA()
        own = authority.issue_cert("127.0.0.1")
        own.cert_chain_pems[0].write_to_path(root / "server.pem")
        own.private_key_pem.write_to_path(root / "server.key")
        of_clients.cert_pem.write_to_path(root / "clients.pem")
        drawing = [str(BIN / "ocelli-searcher"), "token", "--name", "web", "--role", "search", "--out", str(root / "web")]
        (root / "tokens").write_bytes(subprocess.run(drawing, check=True, capture_output=True).stdout)
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
            with Client(server.target, retry=Retry(attempts=1), timeout_s=30, **(options | changes)) as client:
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
        self.assertEqual(code_with(ca=None, client_cert=None, client_key=None), grpc.StatusCode.UNAVAILABLE)
        with self.assertRaises(ValueError):
            Client(server.target, client_cert=cert, client_key=key)

    def test_a_rate_is_waited_for_as_long_as_the_server_says(self) -> None:
        root = Path(self.folder.name)
        drawing = [str(BIN / "ocelli-searcher"), "token", "--name", "slow", "--role", "search", "--out", str(root / "slow")]
        drawing += ["--rate-per-s", "2", "--burst", "1"]
        (root / "rates").write_bytes(subprocess.run(drawing, check=True, capture_output=True).stdout)
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
        with Client(server.target, token=token, retry=Retry(attempts=1)) as client, self.assertRaises(SearchError) as caught:
            for _ in range(3):
                client.search(Id(8))
        self.assertEqual((caught.exception.code.name, caught.exception.reason), ("RESOURCE_EXHAUSTED", "RATE_LIMITED"))
        self.assertTrue(0 < (caught.exception.retry_after_s or 0) <= 0.5)

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
        self.assertEqual((list(request.filter.allow.ids), list(request.filter.allow.keys)), ([1, 2], ["x", "y"]))
        self.assertEqual(list(request.filter.deny.ids), [3])
        self.assertEqual((request.expansion.k, request.expansion.alpha, request.expansion.rounds), (7, 2.5, 2))
        self.assertEqual((request.diffusion.candidates, request.diffusion.alpha), (30, 0.5))
        self.assertFalse(request.diffusion.HasField("gamma"))
        self.assertTrue(request.exact)
        self.assertEqual(request.score_threshold, 0.25)
        none = _request(Id(1), allow=None, deny=(), expansion=None)
        self.assertFalse(none.HasField("filter") or none.HasField("expansion") or none.HasField("score_threshold"))
        self.assertTrue(_request(Id(1), allow=[], deny=(), expansion=None).filter.HasField("allow"))


class RetryTest(unittest.TestCase):
    def test_pauses_grow_up_to_their_limit(self) -> None:
        retry = Retry(attempts=9, first_backoff_s=0.1, max_backoff_s=0.35, multiplier=2)
        for attempt, longest in ((1, 0.1), (2, 0.2), (3, 0.35), (8, 0.35)):
            drawn = [retry.pause_s(attempt) for _ in range(200)]
            self.assertTrue(0 <= min(drawn) and longest / 2 < max(drawn) <= longest)
        with self.assertRaises(ValueError):
            Retry(attempts=0)


if __name__ == "__main__":
    unittest.main()
