"""A client of Klankbord that shares no code with it: Python, grpcio, stubs made from proto/.

Usage: client.py ADDRESS PROTO_DIR < messages.json

Reads a JSON list of texts from standard input, asks for their verdicts in every way that the
contract has, and prints one JSON object with what came back. It checks nothing itself:
tests/foreign.rs compares the answers.
"""

import json
import queue
import subprocess
import sys
import tempfile

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 60


def stubs(proto_dir, out_dir):
    """Generates the stubs and imports them."""
    protoc = [sys.executable, "-m", "grpc_tools.protoc"]
    out = [f"--python_out={out_dir}", f"--grpc_python_out={out_dir}"]
    subprocess.run([*protoc, f"-I{proto_dir}", *out, "klankbord/v1/klankbord.proto"], check=True)
    sys.path.insert(0, out_dir)
    from klankbord.v1 import klankbord_pb2, klankbord_pb2_grpc

    return klankbord_pb2, klankbord_pb2_grpc


def verdict(kb, v):
    """A verdict under the names of `klankbord classify --json`."""
    name = lambda enum, value: enum.Name(value).split("_", 1)[1].lower()
    primary = name(kb.Intent, v.primary_intent)
    return {
        "id": v.id,
        "intents": {
            name(kb.Intent, i.intent): {"probability": i.probability, "holds": i.holds}
            for i in v.intents
        },
        "primary": None if primary == "none" else primary,
        "urgent": {"probability": v.urgent.probability, "holds": v.urgent.holds},
        "sentiment": {
            "label": name(kb.Sentiment, v.sentiment.sentiment),
            "probabilities": {
                "negative": v.sentiment.negative,
                "neutral": v.sentiment.neutral,
                "positive": v.sentiment.positive,
            },
            "score": v.sentiment.score,
        },
        "needs_review": v.needs_review,
        "language": v.language,
        "tokens_read": v.tokens_read,
        "truncated": v.truncated,
        "context_read": v.context_read,
        "model": {"version": v.model.version, "digest": v.model.digest},
    }


def status(s):
    """A google.rpc.Status with the fields that its details name."""
    fields = []
    for detail in s.details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            fields += [violation.field for violation in bad.field_violations]
    return {"code": s.code, "message": s.message, "fields": fields}


def outcome(kb, result):
    if result.WhichOneof("result") == "verdict":
        return {"verdict": verdict(kb, result.verdict)}
    return {"error": status(result.error)}


def call_status(error):
    """The google.rpc.Status in the trailers of a call that failed."""
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            return status(status_pb2.Status.FromString(value))
    return {"code": error.code().value[0], "message": error.details(), "fields": []}


def main():
    address, proto_dir = sys.argv[1:]
    texts = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as out_dir, grpc.insecure_channel(address) as channel:
        kb, kb_grpc = stubs(proto_dir, out_dir)
        service = kb_grpc.ClassifierStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        messages = [kb.Message(id=str(i), text=text) for i, text in enumerate(texts)]
        found = {}

        request = health_pb2.HealthCheckRequest(service="klankbord.v1.Classifier")
        checked = health.Check(request, timeout=TIMEOUT_S)
        found["health"] = health_pb2.HealthCheckResponse.ServingStatus.Name(checked.status)

        model = service.GetModel(kb.GetModelRequest(), timeout=TIMEOUT_S).model
        found["model"] = {"version": model.id.version, "digest": model.id.digest}

        found["unary"] = [
            verdict(kb, service.Classify(kb.ClassifyRequest(message=m), timeout=TIMEOUT_S).verdict)
            for m in messages
        ]
        try:
            service.Classify(kb.ClassifyRequest(message=kb.Message(text=" ")), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            found["unary_error"] = call_status(error)

        invalid = kb.Message(id="invalid", text="")
        batch = kb.ClassifyBatchRequest(messages=[invalid, *messages])
        results = service.ClassifyBatch(batch, timeout=TIMEOUT_S).results
        found["batch"] = [outcome(kb, r) for r in results]

        # One by one, each sent after the reply to the one before: a dialogue, not a batch.
        outgoing = queue.Queue()
        replies = service.ClassifyStream(iter(outgoing.get, None), timeout=TIMEOUT_S)
        found["stream"] = []
        for m in [invalid, *messages]:
            outgoing.put(kb.ClassifyStreamRequest(message=m))
            reply = next(replies)
            found["stream"].append({"id": reply.id, "index": reply.index, **outcome(kb, reply)})
        outgoing.put(None)
        found["stream_ended"] = next(replies, None) is None

    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
