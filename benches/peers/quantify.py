"""How far adjusted counts are from the truth: samples of labelled files in which each label in turn is rarer or commoner than
in all of them together.

Arguments: the program, the files. Prints the mean absolute error of a label's share by counting verdicts, and by EM on the
probabilities as `src/kpi/adjust.rs` does it. Needs numpy.
"""

import json
import subprocess
import sys

import numpy as np

INTENTS = ["question", "complaint", "compliment", "factual_error"]
FELT = ["negative", "positive"]
program, *files = sys.argv[1:]
random = np.random.default_rng(1)
told, said, right = [], [], []
for path in files:
    run = subprocess.run([program, "classify", "-i", path], capture_output=True, text=True, check=True)
    for verdict, line in zip(map(json.loads, run.stdout.splitlines()), open(path, encoding="utf8")):
        record = json.loads(line)
        felt = verdict["sentiment"]
        told.append([verdict["intents"][i]["probability"] for i in INTENTS] + [felt["probabilities"][s] for s in FELT])
        said.append([verdict["intents"][i]["holds"] for i in INTENTS] + [felt["label"] == s for s in FELT])
        right.append([i in record["intents"] for i in INTENTS] + [record["sentiment"] == s for s in FELT])
told, said, right = np.array(told), np.array(said, float), np.array(right)


def adjusted(p, prior):
    share = prior
    for _ in range(500):
        yes, no = share / prior * p, (1 - share) / (1 - prior) * (1 - p)
        share, before = (yes / (yes + no)).mean(), share
        if abs(share - before) < 1e-7:
            break
    return share


for size in (100, 500):
    for label, name in enumerate(INTENTS + FELT):
        plain, corrected = [], []
        for _ in range(300):
            cases = round(random.uniform(0.02, 0.7) * size)
            draw = lambda holds, n: random.choice(np.flatnonzero(right[:, label] == holds), n)
            chosen = np.concatenate([draw(True, cases), draw(False, size - cases)])
            truth = cases / size
            plain.append(abs(said[chosen, label].mean() - truth))
            corrected.append(abs(adjusted(told[chosen, label], right[:, label].mean()) - truth))
        print(f"{size} messages, {name}: counted {np.mean(plain):.3f}, adjusted {np.mean(corrected):.3f}")
