"""One Python peer in a process of its own: ONNX Runtime or PyTorch, asked by JSON lines.

`worker.py PEER EXPORTS IDS THREADS` loads the model from `export.py`'s folder and the token ids of all
messages from a JSON file (`{"set": [[id, ...], ...]}`), says `{"ready": ...}`, and then answers each
line on standard input with one on standard output:

- `{"do": "read", "set": S, "order": "sorted" | "arrival", "batch": B}`: `{"seconds": ...}` for the
  whole set; sorting, padding, the network and taking out the logits are all inside;
- `{"do": "latency", "set": S, "calls": N}`: `{"ms": [...]}`, the first message alone, N times;
- `{"do": "logits", "set": S, "batch": B}`: `{"logits": [[...], ...]}` in the order of the set.

The Rust peers answer the same. A peer whose name ends in `-lanes` reads as many batches at a time as
there are threads, each on one thread, where the others spread each batch over all threads.
"""

import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

PAD = 1


class Ort:
    """A fused graph in ONNX Runtime, all its optimisations on."""

    def __init__(self, graph, folder, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(
            str(folder / f"{graph}.onnx"), options, providers=["CPUExecutionProvider"])
        self.version = f"onnxruntime {onnxruntime.__version__}"

    def __call__(self, ids, mask):
        return self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


class Torch:
    """transformers' BertModel in eager mode with PyTorch's own attention kernel."""

    def __init__(self, kind, folder, threads):
        import torch
        import transformers
        from safetensors.torch import load_file
        from transformers import BertConfig

        from export import load

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        config = BertConfig.from_json_file(folder / "config.json")
        self.torch = torch
        self.model = load(config, load_file(folder / "pytorch.safetensors"))
        if kind == "bf16":
            self.model.to(torch.bfloat16)
        self.version = f"torch {torch.__version__}, transformers {transformers.__version__}"

    def __call__(self, ids, mask):
        with self.torch.inference_mode():
            logits = self.model(self.torch.from_numpy(ids), self.torch.from_numpy(mask))
            return logits.float().numpy()


def padded(messages):
    """Ids and mask of a batch, as long as its longest message."""
    ids = np.full((len(messages), max(map(len, messages))), PAD, np.int64)
    mask = np.zeros_like(ids)
    for row, on, message in zip(ids, mask, messages):
        row[:len(message)] = message
        on[:len(message)] = 1
    return ids, mask


class Worker:
    def __init__(self, peer, folder, threads):
        name, self.lanes = peer.removesuffix("-lanes"), peer.endswith("-lanes")
        runtime, kind = name.split("-", 1)
        inside = 1 if self.lanes else threads
        if runtime == "ort":
            self.model = Ort(f"fused-{kind}", folder, inside)
        else:
            self.model = Torch(kind, folder, inside)
        self.pool = ThreadPoolExecutor(threads) if self.lanes else None

    def read(self, messages, order, size):
        """Logits of all messages, in their own order."""
        indices = list(range(len(messages)))
        if order == "sorted":
            # Longest first: whatever a runtime allocates, it has allocated after the first batch.
            indices.sort(key=lambda i: -len(messages[i]))
        batches = [indices[at:at + size] for at in range(0, len(indices), size)]
        logits = np.empty((len(messages), 8), np.float32)

        def one(batch):
            logits[batch] = self.model(*padded([messages[i] for i in batch]))

        list(self.pool.map(one, batches) if self.lanes else map(one, batches))
        return logits

    def answer(self, request, sets):
        messages = sets[request["set"]]
        if request["do"] == "read":
            begun = time.perf_counter()
            self.read(messages, request["order"], request["batch"])
            return {"seconds": time.perf_counter() - begun}
        if request["do"] == "latency":
            times = []
            for _ in range(request["calls"]):
                begun = time.perf_counter()
                self.model(*padded(messages[:1]))
                times.append((time.perf_counter() - begun) * 1e3)
            return {"ms": times}
        return {"logits": self.read(messages, "sorted", request["batch"]).tolist()}


def main():
    peer, folder, ids, threads = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    sets = json.loads(Path(ids).read_text(encoding="utf-8"))
    worker = Worker(peer, folder, threads)
    print(json.dumps({"ready": worker.model.version}), flush=True)
    for line in sys.stdin:
        reply = worker.answer(json.loads(line), sets)
        reply["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
