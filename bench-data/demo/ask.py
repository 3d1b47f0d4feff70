"""Questions over gRPC: an encoder and a searcher are started and asked."""

import statistics

from .terminal import BIN, Server, head, say, shown

QUESTIONS = 12


def ask(stage, work, path, keep):
    """Starts both servers, asks with some photos, and returns the median time of an answer, ms.
    With `keep` the servers run until Ctrl-C."""
    head("Ask: photos of the collection, over gRPC")
    servers = []
    local = ["--listen", "127.0.0.1:0"]
    try:
        encoder = [BIN / "ocelli-encoder", "serve", *path.serve, *local]
        servers.append(Server(*encoder, log=work / "encoder.log"))
        index = ["--index", f"demo={path.index}", "--encoder", servers[0].address]
        searcher = [BIN / "ocelli", "serve", *index, *local]
        servers.append(Server(*searcher, log=work / "searcher.log"))
        query = [BIN / "ocelli", "query", "--server", servers[1].address]
        chosen = path.ask[:: max(1, len(path.ask) // QUESTIONS)][:QUESTIONS]
        say(stage.run(*query, "--image", path.example, "-k", "6").rstrip())
        answers = [stage.json(*query, "--image", photo, "-k", "10", quiet=True) for photo in chosen]
        stages = {
            s: statistics.median(a["times_us"][s] for a in answers) / 1000
            for s in answers[0]["times_us"]
        }
        longest = sorted(stages.items(), key=lambda item: -item[1])
        shares = "   ".join(f"{s} {v:.2f}" for s, v in longest if v >= 0.005)
        say(f"\n  median times of {len(answers)} answers, ms: {shares}")
        if keep:
            say(f"\nServing. Ask with:\n  {shown(query)} --image FILE\nCtrl-C ends the servers.")
            try:
                servers[1].process.wait()
            except KeyboardInterrupt:
                say()
        return round(stages["total"], 2)
    finally:
        for server in reversed(servers):
            server.stop()
