"""Runs the peers side by side on one file of messages and says how fast and how good each is.

Every peer is a process of its own (`worker.py`, or the Rust one) that has the same token ids, and is
asked in turn, one peer at a time, so that a change in the machine's speed falls on all of them:

1. the whole file sorted by length, at each batch size in the first round and at the peer's two best
   in the other rounds; of those two the one with the better median is the peer's best;
2. the whole file in the order of arrival, 32 messages at a time, `--rounds` times;
3. one message of 32 tokens alone, 200 calls after a warm-up, `--rounds` times.

Figures are medians over the rounds. Tokenising is measured by itself and is not in the peers' times.
With `--klankbord` the engine's own program takes part in 1, as a whole process: start, reading,
tokenising and writing JSON included. It also reads the file five times over, so that its start weighs
little. `--dev` files are read once by each peer for accuracy.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from score import score, verdicts

HERE = Path(__file__).resolve().parent
PEERS = ["ort-f32", "ort-f32-lanes", "ort-int8", "ort-int8-lanes", "torch-f32", "torch-bf16",
         "candle-f32", "rten-f32", "rten-int8", "rten-int8-lanes"]
ON_REQUEST = ["ort-int8-7bit", "rten-f32-lanes"]
SIZES = [8, 16, 32, 64, 128]
LIMIT, SINGLE = 512, 32
OVER = 5  # how many times the engine reads the file in one go


class Peer:
    """A worker process."""

    def __init__(self, name, args, ids):
        self.name, self.tail = name, [str(args.exports), str(ids), str(args.threads)]
        if name.startswith(("ort", "torch")):
            command = [sys.executable, str(HERE / "worker.py"), name]
        else:
            command = [str(args.rust), name]
        environment = os.environ | {
            key: str(args.threads)
            for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "RTEN_NUM_THREADS")}
        self.process = subprocess.Popen(
            command + self.tail, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.peak_mb, self.seconds, self.arrival, self.latency, self.dev = 0, {}, [], [], {}
        self.version = self.reply()["ready"]

    def reply(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} broke off")
        return json.loads(line)

    def ask(self, **request):
        time.sleep(0.3)  # threads that wait actively for more work have gone to sleep by then
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        reply = self.reply()
        self.peak_mb = reply["peak_mb"]
        return reply

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def best(self, count=1):
        """The batch sizes with the best medians, of those that were measured in every round."""
        most = max(map(len, self.seconds.values()))
        sizes = [size for size, times in self.seconds.items() if len(times) == most]
        return sorted(sizes, key=lambda size: statistics.median(self.seconds[size]))[:count]


class Klankbord:
    """The engine's own program: each measurement is a whole process."""

    def __init__(self, precision, args):
        self.name, self.precision, self.args = f"klankbord-{precision}", precision, args
        self.seconds, self.over, self.dev = [], [], {}
        self.version = self.call("--version").stdout.strip()

    def call(self, *arguments):
        command = [str(self.args.klankbord), *arguments]
        environment = os.environ | {"RAYON_NUM_THREADS": str(self.args.threads)}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True)

    def options(self):
        model = self.args.trained if self.precision == "f32" else self.args.model
        return ["--model", str(model), "--precision", self.precision]

    def read(self, messages=None):
        begun = time.perf_counter()
        done = self.call(*self.options(), "classify", "--json", "--input", str(messages or self.args.messages))
        return time.perf_counter() - begun, [json.loads(line) for line in done.stdout.splitlines()]

    def measure(self, over):
        """A whole process for the file, and one for the file several times over: seconds for each time."""
        self.seconds.append(self.read()[0])
        self.over.append(self.read(over)[0] / OVER)

    def evaluate(self, path):
        report = json.loads(self.call(*self.options(), "eval", "--json", str(path)).stdout)
        return report[0] if isinstance(report, list) else report


def records_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def tokenise(tokenizer, records):
    """Ids of each record, cut as the engine cuts them, and the seconds that it took."""
    begun = time.perf_counter()
    encoded = tokenizer.encode_batch_fast([record["text"] for record in records])
    seconds = time.perf_counter() - begun
    ids = [e.ids if len(e.ids) <= LIMIT else e.ids[:LIMIT - 1] + e.ids[-1:] for e in encoded]
    return ids, seconds


def measure(peers, ours, args, over):
    for peer in peers:
        peer.ask(do="read", set="warm-up", order="sorted", batch=32)
    for turn in range(args.rounds):
        sizes = {peer.name: peer.best(2) if turn else args.sizes for peer in peers}
        for at in range(min(2, len(args.sizes)) if turn else len(args.sizes)):
            for peer in peers:
                size = sizes[peer.name][at]
                reply = peer.ask(do="read", set="bench", order="sorted", batch=size)
                peer.seconds.setdefault(size, []).append(reply["seconds"])
        for own in ours:
            own.measure(over)
        for peer in peers:
            reply = peer.ask(do="read", set="bench", order="arrival", batch=32)
            peer.arrival.append(reply["seconds"])
        for peer in peers:
            peer.ask(do="latency", set="single", calls=30)
            peer.latency.append(peer.ask(do="latency", set="single", calls=args.calls)["ms"])
        print(f"round {turn + 1} of {args.rounds}", file=sys.stderr)


def percentile(latencies, share):
    """Median over the rounds of one percentile within each."""
    return statistics.median(float(np.percentile(times, share)) for times in latencies)


def results(peers, ours, count):
    rows = []
    for peer in peers:
        best, medians = peer.best()[0], {s: statistics.median(t) for s, t in peer.seconds.items()}
        rows.append({
            "peer": peer.name, "version": peer.version, "best_batch": best,
            "sorted": count / medians[best], "arrival_32": count / statistics.median(peer.arrival),
            "spread": [count / max(peer.seconds[best]), count / min(peer.seconds[best])],
            "by_batch": {size: count / seconds for size, seconds in medians.items()},
            "p50_ms": percentile(peer.latency, 50), "p99_ms": percentile(peer.latency, 99),
            "peak_mb": peer.peak_mb, "dev": peer.dev})
    for own in ours:
        rows.append({
            "peer": own.name, "version": own.version, "process": count / statistics.median(own.seconds),
            "spread": [count / max(own.seconds), count / min(own.seconds)],
            "over": count / statistics.median(own.over),
            "over_spread": [count / max(own.over), count / min(own.over)], "dev": own.dev})
    return rows


def table(rows):
    yield "| peer | sorted, msg/s (lowest-highest) | batch | arrival, 32 | one of 32 tokens, p50 / p99 ms | peak MB |"
    yield "|---|---|---|---|---|---|"
    for r in rows:
        low, high = r["spread"]
        if "process" in r:
            yield f"| {r['peer']} (whole process) | {r['process']:.0f} ({low:.0f}-{high:.0f}) | - | - | - | - |"
            low, high = r["over_spread"]
            yield f"| {r['peer']} (whole process, file {OVER} times) | {r['over']:.0f} ({low:.0f}-{high:.0f}) | - | - | - | - |"
            continue
        yield (f"| {r['peer']} | {r['sorted']:.0f} ({low:.0f}-{high:.0f}) | {r['best_batch']} | {r['arrival_32']:.0f} "
               f"| {r['p50_ms']:.2f} / {r['p99_ms']:.2f} | {r['peak_mb']:.0f} |")
    names = list(rows[0]["dev"])
    if names:
        yield ""
        yield "| peer | " + " | ".join(f"{n}: intents / sentiment macro-F1" for n in names) + " |"
        yield "|---|" + "---|" * len(names)
        for r in rows:
            cells = (f"{r['dev'][n]['intents']:.4f} / {r['dev'][n]['sentiment']:.4f}" for n in names)
            yield f"| {r['peer']} | " + " | ".join(cells) + " |"


def probabilities(own, manifest):
    """What the engine says of intents and sentiments, (n, 7)."""
    names = manifest["logits"]
    return np.array([
        [answer["intents"][name]["probability"] for name in names[:4]]
        + [answer["sentiment"]["probabilities"][name] for name in names[4:7]]
        for answer in own.read()[1]])


def agree(peers, ours, manifest):
    """How far each probability is from klankbord's in f32, mean and most."""
    true, said = probabilities(ours[0], manifest), {}
    for peer in peers:
        logits = peer.ask(do="logits", set="bench", batch=32)["logits"]
        said[peer.name] = np.hstack(verdicts(logits, manifest)[:2])
    said |= {own.name: probabilities(own, manifest) for own in ours[1:]}
    far = {name: np.abs(values - true) for name, values in said.items()}
    return {name: {"mean": float(d.mean()), "most": float(d.max())} for name, d in far.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", type=Path, help="folder made by export.py")
    parser.add_argument("--messages", type=Path, default=HERE.parent / "data" / "messages.jsonl")
    parser.add_argument("--dev", type=Path, nargs="*", default=[], help="labelled messages, for accuracy")
    parser.add_argument("--rust", type=Path, help="the program klankbord-peers; without it no Rust peers")
    parser.add_argument("--klankbord", type=Path, help="the program klankbord; without it only the peers")
    parser.add_argument("--model", type=Path, help="its model folder")
    parser.add_argument("--trained", type=Path, help="that model before it was made int8: what was exported")
    parser.add_argument("--peers", nargs="+", choices=PEERS + ON_REQUEST, default=PEERS, metavar="PEER",
                        help="some of " + ", ".join(PEERS + ON_REQUEST))
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="batch sizes to try")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--take", type=int, help="only so many messages, from the front: for a first look")
    parser.add_argument("--json", type=Path, help="write everything here")
    args = parser.parse_args()
    args.trained = args.trained or args.model

    manifest = json.loads((args.exports / "manifest.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(args.exports / "tokenizer.json"))
    records = records_of(args.messages)[:args.take]
    bench, seconds = tokenise(tokenizer, records)
    every = tokenise(tokenizer, records_of(args.messages))[0]
    sets = {"bench": bench, "warm-up": bench[:200],
            "single": [next(ids for ids in every if len(ids) == SINGLE)]}
    dev = {path.stem: records_of(path) for path in args.dev}
    sets |= {name: tokenise(tokenizer, found)[0] for name, found in dev.items()}

    with tempfile.TemporaryDirectory() as scratch:
        if args.take:
            args.messages = Path(scratch) / "messages.jsonl"
            args.messages.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
        over = Path(scratch) / "over.jsonl"
        over.write_text(args.messages.read_text(encoding="utf-8") * OVER, encoding="utf-8")
        ids = Path(scratch) / "ids.json"
        ids.write_text(json.dumps(sets), encoding="utf-8")
        chosen = [n for n in args.peers if args.rust or n.startswith(("ort", "torch"))]
        peers = [Peer(name, args, ids) for name in chosen]
        ours = [Klankbord(p, args) for p in ("f32", "int8")] if args.klankbord else []
        measure(peers, ours, args, over)
        for name, found in dev.items():
            for peer in peers:
                logits = np.array(peer.ask(do="logits", set=name, batch=32)["logits"])
                peer.dev[name] = score(logits, found, manifest)
            for own in ours:
                report = own.evaluate(next(path for path in args.dev if path.stem == name))
                own.dev[name] = {"intents": report["intents"]["macro_f1"],
                                 "sentiment": report["sentiment"]["macro_f1"]}
        differences = agree(peers, ours, manifest) if ours else {}
        for peer in peers:
            peer.close()

    lengths = sorted(map(len, bench))
    rows = results(peers, ours, len(bench))
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.processor())
    print(f"{len(bench)} messages, {sum(lengths)} tokens; {args.threads} threads; {cpu}; "
          f"tokenising {seconds:.2f} s; median of {args.rounds} rounds")
    print(", ".join(sorted({row["version"] for row in rows})), "\n")
    print("\n".join(table(rows)))
    for name, difference in differences.items():
        print(f"{name}: a probability differs from klankbord-f32 by {difference['mean']:.1e} in the mean, "
              f"at most {difference['most']:.1e}")
    if args.json:
        args.json.write_text(json.dumps({
            "cpu": cpu, "threads": args.threads, "rounds": args.rounds, "messages": len(bench),
            "tokens": sum(lengths), "tokenise_seconds": seconds, "python": platform.python_version(),
            "results": rows, "differences": differences}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
