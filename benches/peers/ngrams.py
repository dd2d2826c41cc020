"""What n-grams of words and characters alone can tell: logistic regression, by itself and mixed with the model.

    venv/bin/pip install scikit-learn==1.9.1
    venv/bin/python ngrams.py DATA --corpus ../../models/corpus --klankbord ../../target/release/klankbord --model ../../models/nl-en

Trains on DATA/train and the corpus; prints, for each dev file, the macro-F1 of the intents and of the sentiment at 0.5.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier

INTENTS = ["question", "complaint", "compliment", "factual_error"]
SENTIMENTS = ["negative", "neutral", "positive"]
DEV = ["dev_real_nl", "dev_real_en", "dev_written"]


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def score(found, probabilities):
    said = [f1_score([name in r["intents"] for r in found], probabilities[:, at] > 0.5)
            for at, name in enumerate(INTENTS)]
    felt = [SENTIMENTS.index(r["sentiment"]) for r in found]
    return np.mean(said), f1_score(felt, probabilities[:, 4:].argmax(1), average="macro")


def model(args, path):
    command = [args.klankbord, "--model", args.model, "classify", "--json", "--input", path]
    answers = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return np.array([[a["intents"][name]["probability"] for name in INTENTS]
                     + [a["sentiment"]["probabilities"][name] for name in SENTIMENTS]
                     for a in map(json.loads, answers)])


def odds(p):
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--readings", type=Path, help="labels by id of the messages of public_permissive")
    for name in ("corpus", "klankbord", "model"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    shared = args.data / "train"
    train = records(shared / "written_nl.jsonl") + records(shared / "written_en.jsonl")
    train += 2 * records(shared / "real_permissive.jsonl")
    for path in sorted(args.corpus.glob("*.jsonl")):
        train += records(path)
    if args.readings:
        public = {r["id"]: r["text"] for r in records(shared / "public_permissive.jsonl")}
        train += [r | {"text": public[r["id"]]} for r in records(args.readings)]
    vectorisers = [
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=3, sublinear_tf=True, max_features=400_000),
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]")]
    texts = [r["text"] for r in train]
    inputs = hstack([v.fit_transform(texts) for v in vectorisers]).tocsr()

    def fitted(labels, many=False):
        """Those that have the label, and what it is."""
        known = [at for at, label in enumerate(labels) if label is not None]
        regression = LogisticRegression(C=4, max_iter=200, solver="liblinear")
        regression = OneVsRestClassifier(regression) if many else regression
        return regression.fit(inputs[known], np.array([labels[at] for at in known]))

    intents = [fitted([name in r["intents"] if "intents" in r else None for r in train]) for name in INTENTS]
    sentiment = fitted([SENTIMENTS.index(r["sentiment"]) if "sentiment" in r else None for r in train], many=True)
    for name in DEV:
        path = args.data / f"{name}.jsonl"
        found = records(path)
        rows = hstack([v.transform([r["text"] for r in found]) for v in vectorisers]).tocsr()
        grams = np.hstack([*(i.predict_proba(rows)[:, 1:] for i in intents), sentiment.predict_proba(rows)])
        own = model(args, path)
        ways = {"n-grams": grams, "model": own}
        ways |= {f"mixed, {w}": 1 / (1 + np.exp(-((1 - w) * odds(own) + w * odds(grams)))) for w in (0.1, 0.2, 0.35)}
        for way, probabilities in ways.items():
            print(name, way, " / ".join(f"{s:.3f}" for s in score(found, probabilities)))


if __name__ == "__main__":
    main()
