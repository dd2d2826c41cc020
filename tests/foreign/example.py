# python -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. klankbord/v1/klankbord.proto
import grpc
from klankbord.v1 import klankbord_pb2 as kb, klankbord_pb2_grpc as rpc

with grpc.insecure_channel("127.0.0.1:50051") as channel:
    message = kb.Message(text="Al drie keer gebeld en nog steeds geen antwoord. Hoe nu verder?")
    verdict = rpc.ClassifierStub(channel).Classify(kb.ClassifyRequest(message=message), timeout=10).verdict
    print(kb.Intent.Name(verdict.primary_intent), f"{verdict.sentiment.score:+.2f}")
