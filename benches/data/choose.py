"""Chooses the messages that the benches read: `messages.jsonl`, the same bytes for the same arguments.

2,000 lengths are drawn from the log-normal distribution with median 20 and 95th percentile 110
tokens (special tokens counted): short posts mostly, and a tail of letters. Each length, in the order
drawn, takes the text nearest to it in length that is not yet taken; 17 of 20 times a Dutch one, else
an English one. The order drawn is the order of the file, so it is as random as arrivals are. Texts
are the project's own; no text occurs twice. Prints what came out.
"""

import argparse
import bisect
import json
import math
import random
import statistics

from tokenizers import Tokenizer

N, SEED, MEDIAN, P95 = 2000, 20, 20, 110
KEYS = ("id", "text", "lang", "channel")


def stock(path, tokenizer, seen, rng):
    """The records of a file with their lengths, shortest first, those of one length in random order."""
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    fresh = []
    for record in records:
        if record["text"] not in seen:
            seen.add(record["text"])
            fresh.append(record)
    rng.shuffle(fresh)
    encoded = tokenizer.encode_batch([record["text"] for record in fresh])
    return sorted(((len(e.ids), r) for e, r in zip(encoded, fresh)), key=lambda pair: pair[0])


def take_nearest(records, length):
    """Removes and returns the record whose length is nearest, the shorter of two as near."""
    at = bisect.bisect_left(records, length, key=lambda pair: pair[0])
    near = [i for i in (at - 1, at) if 0 <= i < len(records)]
    return records.pop(min(near, key=lambda i: abs(records[i][0] - length)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", required=True, help="a model's tokenizer.json")
    parser.add_argument("--nl", required=True, help="Dutch messages, JSON lines")
    parser.add_argument("--en", required=True, help="English messages, JSON lines")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()

    rng = random.Random(SEED)
    tokenizer = Tokenizer.from_file(args.tokenizer)
    seen = set()
    dutch, english = (stock(path, tokenizer, seen, rng) for path in (args.nl, args.en))
    sigma = math.log(P95 / MEDIAN) / statistics.NormalDist().inv_cdf(0.95)
    lengths, ids = [], set()
    with open(args.out, "w", encoding="utf-8", newline="\n") as out:
        for _ in range(N):
            wanted = rng.lognormvariate(math.log(MEDIAN), sigma)
            length, record = take_nearest(dutch if rng.random() < 0.85 else english, wanted)
            lengths.append(length)
            ids.add(record["id"])
            out.write(json.dumps({key: record[key] for key in KEYS}, ensure_ascii=False) + "\n")
    assert len(ids) == N, "an id occurs twice"
    lengths.sort()
    mean = sum(lengths) / N
    p95 = lengths[math.ceil(0.95 * N) - 1]
    print(f"n {N}, tokens: mean {mean:.1f}, median {statistics.median(lengths):g}, p95 {p95}, "
          f"max {lengths[-1]}, sum {sum(lengths)}")


if __name__ == "__main__":
    main()
