"""What thresholds of the intents are worth on messages that they were not fitted on, by where they are fitted.

`0.5`: on the network's logit at 0; `together`: the best F1 over the messages of all files; `alike`: the best mean of the files' F1; `by language`: the same
among the messages of each language, as `klankbord tune --by-language` does. Five parts, each read with what the other four gave; ten shuffles. F1 is
averaged over thresholds near by (a quarter of a log-odd to each side), since the single best one owes its place to chance.

    python thresholds.py KLANKBORD MODEL FILE...
"""

import json
import subprocess
import sys

import numpy as np

INTENTS = ["question", "complaint", "compliment", "factual_error"]
klankbord, model, *paths = sys.argv[1:]
calibration = json.load(open(f"{model}/manifest.json"))["calibration"]["intents"]
shift = [(c["scale"], c["shift"]) for c in calibration]


def read(path):
    """Logits, labels and languages of the messages of one file."""
    records = [json.loads(line) for line in open(path, encoding="utf8")]
    asked = "".join(json.dumps({key: r[key] for key in ("id", "text", "context") if r.get(key)}) + "\n" for r in records)
    run = subprocess.run([klankbord, "--model", model, "classify", "--json"], input=asked, capture_output=True, text=True, check=True)
    p = np.array([[json.loads(line)["intents"][i]["probability"] for i in INTENTS] for line in run.stdout.splitlines()])
    z = np.log(p.clip(1e-9, 1 - 1e-7) / (1 - p.clip(1e-9, 1 - 1e-7)))
    z = np.stack([(z[:, i] - b) / a for i, (a, b) in enumerate(shift)], 1)
    return z, np.array([[i in r["intents"] for i in INTENTS] for r in records]), np.array([r["lang"] for r in records])


def best(groups):
    """The threshold with the best mean of the groups' F1."""
    cuts = np.unique(np.concatenate([z for z, _ in groups]))
    total = np.zeros(len(cuts))
    for z, y in groups:
        order = np.argsort(z)
        above = np.append(np.cumsum(y[order][::-1])[::-1], 0)
        at = np.searchsorted(z[order], cuts)
        total += 2 * above[at] / (len(z) - at + y.sum())
    grid = np.linspace(-3, 2, 101)
    near = [np.abs(cuts - t) < 0.25 for t in grid]
    return grid[np.argmax([total[n].mean() if n.any() else -1 for n in near])]


def f1(said, right):
    return 2 * (said & right).sum() / max(said.sum() + right.sum(), 1)


files = [read(path) for path in paths]
ways = ["0.5", "together", "alike", "by language"]
found = {way: [] for way in ways}
random = np.random.default_rng(0)
for _ in range(10):
    parts = [random.permutation(len(z)) % 5 for z, _, _ in files]
    said = {way: [np.zeros(y.shape, bool) for _, y, _ in files] for way in ways}
    for held in range(5):
        for i in range(4):
            rest = [(z[p != held, i], y[p != held, i], lang[p != held]) for (z, y, lang), p in zip(files, parts)]
            plain = [(z, y) for z, y, _ in rest]
            cut = {"0.5": 0, "together": best([tuple(np.concatenate(both) for both in zip(*plain))]), "alike": best(plain)}
            own = {tag: best([(z[lang == tag], y[lang == tag]) for z, y, lang in rest if (y & (lang == tag)).sum() >= 10]) for tag in ("nl", "en")}
            for at, ((z, _, lang), p) in enumerate(zip(files, parts)):
                for way in ways:
                    limit = cut[way] if way in cut else np.where(lang == "en", own["en"], own["nl"])[p == held]
                    said[way][at][p == held, i] = z[p == held, i] > limit
    for way in ways:
        found[way].append([[f1(s[:, i], y[:, i]) for i in range(4)] for s, (_, y, _) in zip(said[way], files)])
for way in ways:
    each = np.mean(found[way], 0)
    print(f"{way:12}", " ".join(f"{path.rsplit('/')[-1]} {m.mean():.3f} (factual error {m[3]:.2f})" for path, m in zip(paths, each)), f"mean {each.mean():.4f}")
