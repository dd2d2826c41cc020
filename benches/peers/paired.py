"""Whether one model is better than another on the same labelled files, or only luckier: the difference in macro-F1 of the
intents and of the sentiment, with the 95% interval of a paired bootstrap over messages (2,000 draws).

Arguments: the program, the older model, the newer one, the files. Needs numpy.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

INTENTS = ["question", "complaint", "compliment", "factual_error"]
SENTIMENTS = ["negative", "neutral", "positive"]
program, older, newer, *files = sys.argv[1:]
random = np.random.default_rng(1)


def verdicts(model, path):
    command = [program, "--model", model, "classify", "--json", "--input", path]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    said = [json.loads(line) for line in lines]
    felt = np.array([answer["sentiment"]["label"] for answer in said])
    return np.array([[answer["intents"][name]["holds"] for name in INTENTS] for answer in said]), classes(felt)


def classes(felt):
    """A column a class of sentiment."""
    return np.stack([felt == name for name in SENTIMENTS], axis=1)


def macro_f1(told, said):
    hits, all_of_them = (told & said).sum(0), told.sum(0) + said.sum(0)
    return (2 * hits / np.maximum(all_of_them, 1)).mean()


for path in files:
    records = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    told = (np.array([[name in r["intents"] for name in INTENTS] for r in records]),
            classes(np.array([r["sentiment"] for r in records])))
    before, after = verdicts(older, path), verdicts(newer, path)

    def gain(chosen):
        return [macro_f1(t[chosen], b[chosen]) - macro_f1(t[chosen], a[chosen]) for t, a, b in zip(told, before, after)]

    draws = np.array([gain(random.integers(0, len(records), len(records))) for _ in range(2000)])
    for name, found, (low, high) in zip(["intents", "sentiment"], gain(slice(None)), np.percentile(draws, [2.5, 97.5], axis=0).T):
        print(f"{Path(path).name} {name}: {found:+.3f} ({low:+.3f} to {high:+.3f})")
