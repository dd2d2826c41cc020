"""What could still be had from trained models without training: by other pooling of the tokens, by reading each message in several ways, by several models.

Prints for each the macro-F1 of the intents at 0.5 and of the sentiment on each file, and the mean over intents of average precision, which no threshold can
change. int8 weights are taken back to f32. Arguments: folders of models, the first the one that is pooled and read otherwise, then `--` and the files.
Needs torch, safetensors, tokenizers, scikit-learn.
"""

import json
import re
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from sklearn.metrics import average_precision_score
from tokenizers import Tokenizer

INTENTS = ["question", "complaint", "compliment", "factual_error"]
SENTIMENTS = ["negative", "neutral", "positive"]
WIDTH, LAYERS, HEADS = 384, 12, 12
at = sys.argv.index("--")
models, paths = sys.argv[1:at], sys.argv[at + 1 :]
tokenizer = Tokenizer.from_file(f"{models[0]}/tokenizer.json")
tokenizer.no_truncation()
tokenizer.no_padding()


def load(model):
    raw, weights = load_file(f"{model}/model.safetensors"), {}
    for name, value in raw.items():
        part = name.rsplit(".", 1)[0]
        if name.endswith((".weight", ".bias")):
            value = value.astype(np.float32)
            if name.endswith(".weight") and part + ".scale" in raw:
                value = value * raw[part + ".scale"][:, None] * raw.get(part + ".smooth", np.float32(1))
            weights[name] = torch.tensor(value)
    return weights


def cut(ids, most):
    return ids if len(ids) <= most else ids[: most - 1] + ids[-1:]


@torch.no_grad()
def read(weights, records, change):
    """Logits of each token of each message."""
    norm = lambda x, at: F.layer_norm(x, (WIDTH,), weights[at + ".weight"], weights[at + ".bias"], 1e-12)
    linear = lambda x, at: F.linear(x, weights[at + ".weight"], weights[at + ".bias"])
    table = lambda name: weights[f"embeddings.{name}_embeddings.weight"]
    found = []
    for record in records:
        ids = cut(tokenizer.encode(change(record["text"])).ids, 512)
        own = len(ids)
        if record.get("context"):
            ids = ids + cut(tokenizer.encode(record["context"]).ids[1:], 128)
        kinds = torch.tensor([int(i >= own) for i in range(len(ids))])
        x = norm(table("word")[ids] + table("position")[: len(ids)] + table("token_type")[kinds], "embeddings.LayerNorm")
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}."
            head = lambda n: linear(x, f"{at}attention.self.{n}").view(len(ids), HEADS, -1).transpose(0, 1)
            mixed = F.scaled_dot_product_attention(head("query"), head("key"), head("value")).transpose(0, 1).reshape(len(ids), WIDTH)
            x = norm(x + linear(mixed, at + "attention.output.dense"), at + "attention.output.LayerNorm")
            x = norm(x + linear(F.gelu(linear(x, at + "intermediate.dense")), at + "output.dense"), at + "output.LayerNorm")
        found.append(linear(x[:own], "classifier").numpy())
    return found


def show(name, logits):
    """Logits (messages, 8) of each file."""
    row, precisions = [], []
    for z, records in zip(logits, files):
        told = np.array([[intent in r["intents"] for intent in INTENTS] for r in records])
        felt = np.array([SENTIMENTS.index(r["sentiment"]) for r in records])
        f1 = lambda said, right: 2 * (said & right).sum() / max(said.sum() + right.sum(), 1)
        intents = np.mean([f1(z[:, i] > 0, told[:, i]) for i in range(4)])
        sentiment = np.mean([f1(z[:, 4:7].argmax(1) == c, felt == c) for c in range(3)])
        precision = np.mean([average_precision_score(told[:, i], z[:, i]) for i in range(4)])
        row.append(f"{intents:.3f} / {sentiment:.3f}, {precision:.3f}")
        precisions.append(precision)
    print(f"{name:34}", " | ".join(row), f"| {np.mean(precisions):.4f}", flush=True)


same = lambda text: text
bare = lambda text: re.sub(r"^(?:\s*@\w+)+\s*|https?://\S+|#", "", text).strip() or text
pool = lambda tokens, how: [np.stack([how(z) for z in file]) for file in tokens]
mean = lambda several: [np.mean(file, 0) for file in zip(*several)]
files = [[json.loads(line) for line in open(path, encoding="utf8")] for path in paths]
weights = load(models[0])
tokens = {name: [read(weights, file, change) for file in files] for name, change in {"": same, "lower case": str.lower, "bare": bare}.items()}
plain = pool(tokens[""], lambda z: z.mean(0))
show("as it is", plain)
show("largest token", pool(tokens[""], lambda z: z.max(0)))
show("softly largest token", pool(tokens[""], lambda z: np.log(np.exp(z / 2).mean(0)) * 2))
show("upper quarter of the tokens", pool(tokens[""], lambda z: np.quantile(z, 0.75, 0)))
lower, without = (pool(tokens[name], lambda z: z.mean(0)) for name in ("lower case", "bare"))
show("no links, hash signs, handles first", without)
show("mean with lower case", mean([plain, lower]))
show("mean with lower case and those", mean([plain, lower, without]))
others = [pool([read(load(model), file, same) for file in files], lambda z: z.mean(0)) for model in models[1:]]
for n in range(1, len(others) + 1):
    show(f"mean of {n + 1} models", mean([plain, *others[:n]]))
