"""Macro-F1 of logits against labels, by the definitions of the engine's `src/eval.rs`.

Calibration and thresholds come from the model's manifest, as in `src/model/labels.rs`. Labels that a
record does not have are masked; an F1 with a zero denominator is 0; averages are over all labels.
"""

import numpy as np

SENTIMENTS = ["negative", "neutral", "positive"]


def verdicts(logits, manifest):
    """Probabilities of intents (n, 4) and sentiments (n, 3), and which intents hold."""
    calibration = manifest["calibration"]
    logits = np.asarray(logits, np.float32)

    def of(key):
        return np.array([intent[key] for intent in calibration["intents"]], np.float32)

    intents = 1 / (1 + np.exp(-(of("scale") * logits[:, :4] + of("shift"))))
    exp = logits[:, 4:7] - logits[:, 4:7].max(1, keepdims=True)
    exp = np.exp(exp / np.float32(calibration["sentiment_temperature"]))
    return intents, exp / exp.sum(1, keepdims=True), intents >= of("threshold")


def targets_of(record, names):
    """What is known of a record's intents: True, False or None each."""
    if "intents" in record:
        return [name in record["intents"] for name in names]
    some, absent = record.get("intents_some", []), record.get("not", [])
    return [True if name in some else False if name in absent else None for name in names]


def f1(target, said):
    hits = np.sum(target & said)
    whole = np.sum(target) + np.sum(said)
    return float(2 * hits / whole) if whole else 0.0


def score(logits, records, manifest):
    names = manifest["logits"][:4]
    _, sentiment, holds = verdicts(logits, manifest)
    targets = [targets_of(record, names) for record in records]
    by_intent = []
    for column in range(4):
        known = np.array([row[column] is not None for row in targets])
        target = np.array([bool(row[column]) for row in targets])
        by_intent.append(f1(target[known], holds[known, column]))
    known = np.array([record.get("sentiment") in SENTIMENTS for record in records])
    target = np.array([record.get("sentiment") for record in records])[known]
    said = np.array(SENTIMENTS)[sentiment.argmax(1)][known]
    by_class = [f1(target == name, said == name) for name in SENTIMENTS]
    return {"intents": float(np.mean(by_intent)), "sentiment": float(np.mean(by_class)), "n": len(records)}
