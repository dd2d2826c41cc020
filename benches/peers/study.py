"""What a run of the trainer is worth, in PyTorch with bf16 products: several times as many messages a second as `klankbord
train` where the CPU has AVX512_BF16. Same base, heads, losses, batches of like length and schedule; other random numbers.

Prints the macro-F1 of the intents and of the sentiment on each dev file after the last epoch, at 0.5. `--base` is an imported base
encoder or a trained model in f16; `models/EXPERIMENTS.md` has the options of each study. Needs torch, safetensors, tokenizers.
"""

import argparse
import json
import random

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from tokenizers import Tokenizer

INTENTS = ["question", "complaint", "compliment", "factual_error"]
SENTIMENTS = ["negative", "neutral", "positive"]
HIDDEN, LAYERS, HEADS = 384, 12, 12
YES_NO, SHARE = [0, 1, 2, 3, 7], torch.tensor([1, 1, 1, 1, 0.5])

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True)
parser.add_argument("--tokenizer", required=True)
parser.add_argument("--data", action="append", required=True)
parser.add_argument("--auxiliary", action="append", default=[])
parser.add_argument("--dev", action="append", required=True)
parser.add_argument("--auxiliary-take", type=int, default=3000)
parser.add_argument("--auxiliary-weight", type=float, default=0.3)
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--rate", type=float, default=1.5e-4)
parser.add_argument("--head-factor", type=float, default=10)
parser.add_argument("--dropout", type=float, default=0.1)
parser.add_argument("--smoothing", type=float, default=0)
parser.add_argument("--weight-decay", type=float, default=0.01)
parser.add_argument("--batch-tokens", type=int, default=512)
parser.add_argument("--batch-messages", type=int, default=32)
parser.add_argument("--average", type=float, default=0)
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()
torch.manual_seed(args.seed)
tokenizer = Tokenizer.from_file(args.tokenizer)
tokenizer.no_truncation()


def load(paths, weight, limit):
    """(ids, own tokens, targets or -1, weight) of each labelled message."""
    examples = []
    cut = lambda ids, n: ids if len(ids) <= n else ids[: n - 1] + ids[-1:]
    for line in (line for path in paths for line in open(path, encoding="utf8")):
        record, y = json.loads(line), np.full(8, -1.0, np.float32)
        if record.get("intents") is not None:
            y[:4] = [intent in record["intents"] for intent in INTENTS]
        y[[INTENTS.index(i) for i in record.get("intents_some", [])]] = 1
        y[[INTENTS.index(i) for i in record.get("not", [])]] = 0
        if record.get("sentiment"):
            y[4:7] = [s == record["sentiment"] for s in SENTIMENTS]
        if record.get("urgent") is not None:
            y[7] = record["urgent"]
        if (y < 0).all():
            continue
        ids = cut(tokenizer.encode(record["text"]).ids, limit)
        own = len(ids)
        if record.get("context"):
            ids = ids + cut(tokenizer.encode(record["context"]).ids[1:], 128)
        examples.append((ids, own, y, weight * (0.5 if record.get("sure") is False else 1)))
    return examples


weights = {k: torch.tensor(v.astype(np.float32)) for k, v in load_file(f"{args.base}/model.safetensors").items()}
if "embeddings.word_embeddings.scale" in weights:
    weights["embeddings.word_embeddings.weight"] *= weights.pop("embeddings.word_embeddings.scale")[:, None]
if "classifier.weight" not in weights:
    weights["classifier.weight"], weights["classifier.bias"] = torch.randn(8, HIDDEN) * 0.02, torch.zeros(8)
for name, value in weights.items():
    value.requires_grad_("word_embeddings" not in name)
low = {}  # what the layers multiply with, in bf16


def lower():
    for name, value in weights.items():
        if "layer." in name:
            low[name] = value.detach().to(torch.bfloat16).requires_grad_()


def drop(x, training):
    """Dropout by bytes: the library's own generator takes as long as the products."""
    below = round(args.dropout * 256)
    if not training or not below:
        return x
    keep = torch.empty(x.numel() // 8, dtype=torch.int64).random_(-(2**63), None).view(torch.uint8).view(x.shape) >= below
    return x * keep.to(x.dtype) * (256 / (256 - below))


def forward(batch, training):
    size, most = len(batch), max(len(ids) for ids, *_ in batch)
    ids, kinds = torch.ones(size, most, dtype=torch.long), torch.zeros(size, most, dtype=torch.long)
    own, seen = torch.zeros(size, most), torch.zeros(size, most, dtype=torch.bool)
    for row, (tokens, n, *_) in enumerate(batch):
        ids[row, : len(tokens)], own[row, :n] = torch.tensor(tokens), 1
        seen[row, : len(tokens)], kinds[row, n:] = True, 1
    table = lambda name: weights[f"embeddings.{name}_embeddings.weight"]
    x = F.embedding(ids, table("word")) + table("position")[:most] + F.embedding(kinds, table("token_type"))
    norm = lambda x, at, of: F.layer_norm(x, (HIDDEN,), of[at + ".weight"], of[at + ".bias"], 1e-12)
    x = drop(norm(x, "embeddings.LayerNorm", weights), training).to(torch.bfloat16)
    linear = lambda x, at: F.linear(x, low[at + ".weight"], low[at + ".bias"])
    bias = torch.zeros(size, 1, 1, most, dtype=x.dtype).masked_fill(~seen[:, None, None, :], -1e4)
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        head = lambda n: linear(x, f"{at}attention.self.{n}").view(size, most, HEADS, -1).transpose(1, 2)
        scores = torch.softmax(head("query") @ head("key").transpose(-1, -2) * (HIDDEN / HEADS) ** -0.5 + bias, -1)
        mixed = (scores @ head("value")).transpose(1, 2).reshape(size, most, HIDDEN)
        x = norm(x + drop(linear(mixed, at + "attention.output.dense"), training), at + "attention.output.LayerNorm", low)
        inner = linear(F.gelu(linear(x, at + "intermediate.dense")), at + "output.dense")
        x = norm(x + drop(inner, training), at + "output.LayerNorm", low)
    pooled = (x.float() * own[:, :, None]).sum(1) / own.sum(1)[:, None]
    return F.linear(pooled, weights["classifier.weight"], weights["classifier.bias"])


def loss_of(z, batch):
    y = torch.tensor(np.stack([e[2] for e in batch]))
    weight, known, y, s = torch.tensor([e[3] for e in batch]), (y >= 0).float(), y.clamp(min=0), args.smoothing
    each = F.binary_cross_entropy_with_logits(z[:, YES_NO], y[:, YES_NO] * (1 - s) + s / 2, reduction="none")
    felt = -((y[:, 4:7] * (1 - s) + s / 3) * F.log_softmax(z[:, 4:7], 1)).sum(1) * known[:, 4]
    return (((each * known[:, YES_NO] * SHARE).sum(1) + felt) * weight).mean()


def batches(examples, rng=None):
    order = list(range(len(examples)))
    if rng:
        rng.shuffle(order)
    length = lambda i: len(examples[i][0])
    per = int(min(max(args.batch_tokens * len(order) / sum(map(length, order)), 1), args.batch_messages))
    found, step = [], 16 * per if rng else len(order)
    for start in range(0, len(order), step):
        batch, total = [], 0
        for i in sorted(order[start : start + step], key=length):
            if batch and (total + length(i) > args.batch_tokens or len(batch) >= args.batch_messages):
                found.append(batch)
                batch, total = [], 0
            batch.append(i)
            total += length(i)
        found.append(batch)
    if rng:
        rng.shuffle(found)
    return found


@torch.no_grad()
def scores(examples):
    z = np.zeros((len(examples), 8))
    for batch in batches(examples):
        z[batch] = forward([examples[i] for i in batch], False).numpy()
    y = np.stack([e[2] for e in examples])
    f1 = lambda said, right: 2 * (said & right).sum() / max(said.sum() + right.sum(), 1)
    felt, right = z[:, 4:7].argmax(1), y[:, 4:7].argmax(1)
    return [np.mean([f1(z[:, i] > 0, y[:, i] > 0) for i in range(4)]), np.mean([f1(felt == c, right == c) for c in range(3)])]


main, auxiliary = load(args.data, 1.0, 256), load(args.auxiliary, args.auxiliary_weight, 256)
dev = {path: load([path], 1.0, 512) for path in args.dev}
rng = random.Random(args.seed)
plans = []
for _ in range(args.epochs):
    examples = main + rng.sample(auxiliary, min(args.auxiliary_take, len(auxiliary)))
    plans += [[examples[i] for i in batch] for batch in batches(examples, rng)]
trained = [value for value in weights.values() if value.requires_grad]
heads = {id(weights["classifier.weight"]), id(weights["classifier.bias"])}
groups = [
    {
        "params": [v for v in trained if (id(v) in heads) == head and (v.dim() == 2) == matrix],
        "lr": args.rate * (args.head_factor if head else 1),
        "weight_decay": args.weight_decay if matrix else 0,
    }
    for head in (False, True)
    for matrix in (False, True)
]
optimiser = torch.optim.AdamW(groups, fused=True)
warm = len(plans) * 0.06
rate = lambda step: (step + 1) / warm if step < warm else (len(plans) - step) / (len(plans) - warm)
schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
average = [value.detach().clone() for value in trained] if args.average else None
lower()
for batch in plans:
    optimiser.zero_grad()
    loss_of(forward(batch, True), batch).backward()
    for name, value in low.items():
        weights[name].grad, value.grad = value.grad.float(), None
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimiser.step()
    schedule.step()
    with torch.no_grad():
        for name, value in low.items():
            value.copy_(weights[name])
        if average:
            torch._foreach_lerp_(average, [value.detach() for value in trained], 1 - args.average)
if average:
    with torch.no_grad():
        for value, mean in zip(trained, average):
            value.copy_(mean)
    lower()
found = {path.rsplit("/")[-1]: scores(examples) for path, examples in dev.items()}
print({name: [round(float(f), 4) for f in both] for name, both in found.items()}, round(float(np.mean(list(found.values()))), 4))
