"""A client that knows nothing of Ocelli but an address: the schema comes by gRPC reflection.

pip install grpcio grpcio-reflection protobuf
python foreign_client.py 127.0.0.1:7070 photo.jpg 10     # or vector.json, an array of numbers
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

address, query, k = sys.argv[1], sys.argv[2], int(sys.argv[3])
with grpc.insecure_channel(address) as channel, open(query, "rb") as file:
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName("ocelli.v1.SearchService").FindMethodByName("Search")
    Request, Response = map(
        message_factory.GetMessageClass, (method.input_type, method.output_type)
    )
    call = channel.unary_unary(
        "/ocelli.v1.SearchService/Search", Request.SerializeToString, Response.FromString
    )
    request = Request()
    request.options.k, request.options.with_keys = k, True
    if query.endswith(".json"):
        request.terms.add().vector.values.extend(json.load(file))
    else:
        request.terms.add().image.data = file.read()
    reply = call(request, timeout=60)
for rank, (id, score, key) in enumerate(zip(reply.ids, reply.scores, reply.keys), 1):
    print(rank, id, f"{score:.6f}", key)
