"""Turns a Klankbord model folder into what the peers read, in one folder of its own.

`pytorch.safetensors` has the weights in f32 under the names of transformers' BERT (the word
embeddings' int8 rows multiplied out) with `config.json` beside it, for PyTorch and candle;
`plain-*.onnx` is the graph as exported, for rten; `fused-*.onnx` is the same after ONNX Runtime's
transformer optimiser. Of both there is f32 and int8 (dynamic, by output channel). Every graph takes
`input_ids` and `attention_mask`, (batch, sequence) int64, and gives `logits`, (batch, 8). The exports
are compared with PyTorch before the program ends, and it fails where f32 differs by 1e-3 or more.
"""

import argparse
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

WORDS = "embeddings.word_embeddings"
LOGITS = 8


class Classifier(torch.nn.Module):
    """BERT, the mean over a message's tokens, one affine head."""

    def __init__(self, config, attention="sdpa"):
        super().__init__()
        self.bert = BertModel._from_config(config, attn_implementation=attention)
        self.bert.pooler = None
        self.classifier = torch.nn.Linear(config.hidden_size, LOGITS)

    def forward(self, input_ids, attention_mask):
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return self.classifier((hidden * mask).sum(1) / mask.sum(1))


def config_of(manifest):
    sizes = manifest["architecture"]
    return BertConfig(
        vocab_size=sizes["vocabulary"], hidden_size=sizes["hidden"], pad_token_id=1,
        num_hidden_layers=sizes["layers"], num_attention_heads=sizes["heads"],
        intermediate_size=sizes["ffn"], max_position_embeddings=sizes["positions"],
        type_vocab_size=sizes["token_types"], layer_norm_eps=sizes["epsilon"], hidden_act="gelu",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def weights_of(folder):
    """All tensors in f32, the word embeddings multiplied out."""
    tensors = load_file(folder / "model.safetensors")
    scale = tensors.pop(f"{WORDS}.scale", None)
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    if scale is not None:
        tensors[f"{WORDS}.weight"] *= scale.float()[:, None]
    return tensors


def load(config, tensors, attention="sdpa"):
    """The module with these weights; fails where one is missing or left over."""
    model = Classifier(config, attention)
    named = {n if n.startswith("classifier.") else f"bert.{n}": t for n, t in tensors.items()}
    missing, unexpected = model.load_state_dict(named, strict=False)
    missing = [name for name in missing if not name.endswith(("position_ids", "token_type_ids"))]
    if missing or unexpected:
        raise SystemExit(f"missing: {missing}; left over: {unexpected}")
    return model.eval()


def export(model, path):
    ids = torch.tensor([[0, 10, 11, 12, 13, 2], [0, 10, 11, 2, 1, 1], [0, 14, 2, 1, 1, 1]])
    axes = {0: "batch", 1: "sequence"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of age: the optimiser's patterns are made for this exporter
        torch.onnx.export(
            model, (ids, (ids != 1).long()), str(path), dynamo=False, opset_version=17,
            input_names=["input_ids", "attention_mask"], output_names=["logits"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "batch"}})
    onnx.checker.check_model(str(path))


def fuse(source, target, config):
    """ONNX Runtime's optimiser for BERT; says which fusions it found, for without them it is slow."""
    options = FusionOptions("bert")
    options.enable_gelu_approximation = False  # the same function as everybody else
    fused = optimizer.optimize_model(
        str(source), "bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size,
        optimization_options=options, opt_level=0)
    found = {k: v for k, v in fused.get_fused_operator_statistics().items() if v}
    fused.save_model_to_file(str(target))
    print(f"{target.name}: {found}")
    if found.get("Attention") != config.num_hidden_layers:
        raise SystemExit("the attention was not fused: the optimiser does not know this graph")


def quantise(source, target, reduce_range):
    """int8 by output channel; embeddings and the head, which cost nothing, stay f32."""
    graph = onnx.load(str(source)).graph
    head = [node.name for node in graph.node if node.op_type == "Gemm"]
    quantize_dynamic(
        str(source), str(target), per_channel=True, reduce_range=reduce_range,
        weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Attention"],
        nodes_to_exclude=head, extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT})


def compare(model, path, config):
    """Largest difference in a logit from PyTorch, on padded batches of made-up ids."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng, worst = np.random.default_rng(1), 0.0
    for lengths in ([7], [30, 12, 5], [3, 140, 64, 64], [512]):
        ids = np.ones((len(lengths), max(lengths)), np.int64)
        for row, length in zip(ids, lengths):
            row[:length] = rng.integers(4, config.vocab_size, length)
            row[0], row[length - 1] = 0, 2
        feed = {"input_ids": ids, "attention_mask": (ids != 1).astype(np.int64)}
        with torch.inference_mode():
            expected = model(*(torch.from_numpy(value) for value in feed.values())).numpy()
        worst = max(worst, np.abs(session.run(None, feed)[0] - expected).max())
    return float(worst)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a model folder")
    parser.add_argument("out", type=Path, help="folder for the exports")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    manifest = json.loads((args.model / "manifest.json").read_text(encoding="utf-8"))
    config, tensors = config_of(manifest), weights_of(args.model)
    for name in ("manifest.json", "tokenizer.json"):
        shutil.copy(args.model / name, args.out / name)
    config.to_json_file(args.out / "config.json", use_diff=False)
    save_file(tensors, args.out / "pytorch.safetensors")
    model = load(config, tensors)

    out = args.out
    export(load(config, tensors, "eager"), out / "plain-f32.onnx")
    fuse(out / "plain-f32.onnx", out / "fused-f32.onnx", config)
    for kind in ("plain", "fused"):
        quantise(out / f"{kind}-f32.onnx", out / f"{kind}-int8.onnx", False)
    quantise(out / "fused-f32.onnx", out / "fused-int8-7bit.onnx", True)
    for path in sorted(out.glob("*.onnx")):
        worst = compare(model, path, config)
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, a logit differs by at most {worst:.2g}")
        if "f32" in path.name and worst >= 1e-3:
            raise SystemExit("that is not the same network")


if __name__ == "__main__":
    main()
