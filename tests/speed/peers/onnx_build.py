"""The models of inference.py as ONNX: `onnx_build.py WORKLOAD WEIGHTS.safetensors MODEL.onnx INPUT.npy SEQUENCES.txt`.

Weights are those of a run of bdl, laid out as ONNX Runtime likes them best (channels first, one product for queries, keys and values).
"""
import json
import pathlib
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def tensors(path):
    """The tensors of a safetensors file of f32."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    found = {}
    for name, about in header.items():
        if name != "__metadata__":
            first, last = about["data_offsets"]
            found[name] = np.frombuffer(data[8 + length + first : 8 + length + last], "<f4").reshape(about["shape"])
    return found


class Graph:
    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, values):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, kind, *inputs, outputs=1, **attributes):
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        inputs = [x if isinstance(x, str) else self.constant(np.asarray(x)) for x in inputs]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def save(self, path, dtype, shape, out, out_shape):
        model = helper.make_model(
            helper.make_graph(self.nodes, "model", [helper.make_tensor_value_info("x", dtype, shape)],
                              [helper.make_tensor_value_info(out, TensorProto.FLOAT, out_shape)], self.constants),
            opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)


def basset(w, path):
    graph, x = Graph(), "x"
    for layer, window in (("conv1d_1", 3), ("conv1d_2", 4), ("conv1d_3", 4)):
        kernel = w[f"net.{layer}.w"]
        pad = kernel.shape[0] // 2
        x = graph.add("Conv", x, kernel.transpose(2, 1, 0), w[f"net.{layer}.b"], pads=[pad, pad])
        x = graph.add("MaxPool", graph.add("Relu", x), kernel_shape=[window], strides=[window])
    first = w["net.dense_1.w"]
    channels = w["net.conv1d_3.b"].shape[0]
    first = first.reshape(-1, channels, first.shape[1]).transpose(1, 0, 2).reshape(first.shape)
    x = graph.add("Relu", graph.add("Gemm", graph.add("Flatten", x), first, w["net.dense_1.b"]))
    x = graph.add("Gemm", x, w["net.dense_2.w"], w["net.dense_2.b"])
    graph.save(path, TensorProto.FLOAT, ["batch", 4, 600], x, ["batch", 164])


def transformer(w, path):
    graph = Graph()
    norm = lambda x, name: graph.add("LayerNormalization", x, w[f"{name}.gain"], w[f"{name}.bias"], axis=-1, epsilon=1e-5)
    dense = lambda x, kernel, bias: graph.add("Add", graph.add("MatMul", x, kernel), bias)
    x = graph.add("Gather", w["net.embedding_1.w"], "x")
    for block in (f"net.block_{i}" for i in range(1, 5)):
        attention = f"{block}.self_attention_1"
        width = w[f"{attention}.bo"].shape[0]
        heads, part = w[f"{attention}.bq"].shape
        kernel = np.concatenate([w[f"{attention}.w{r}"].reshape(width, width) for r in "qkv"], axis=1)
        bias = np.concatenate([w[f"{attention}.b{r}"].reshape(width) for r in "qkv"])
        both = dense(norm(x, f"{block}.layer_norm_1"), kernel, bias)
        q, k, v = graph.add("Split", both, np.array([width] * 3), outputs=3, axis=2)
        by_head = lambda y, order: graph.add("Transpose", graph.add("Reshape", y, np.array([0, 0, heads, part])), perm=order)
        scores = graph.add("MatMul", by_head(q, [0, 2, 1, 3]), by_head(k, [0, 2, 3, 1]))
        scores = graph.add("Softmax", graph.add("Div", scores, np.float32(np.sqrt(part))), axis=-1)
        mixed = graph.add("Transpose", graph.add("MatMul", scores, by_head(v, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
        mixed = graph.add("Reshape", mixed, np.array([0, 0, width]))
        x = graph.add("Add", x, dense(mixed, w[f"{attention}.wo"].reshape(width, width), w[f"{attention}.bo"]))
        y = dense(norm(x, f"{block}.layer_norm_2"), w[f"{block}.dense_1.w"], w[f"{block}.dense_1.b"])
        y = graph.add("Mul", graph.add("Mul", y, np.float32(0.5)),
                      graph.add("Add", graph.add("Erf", graph.add("Div", y, np.float32(np.sqrt(2)))), np.float32(1)))
        x = graph.add("Add", x, dense(y, w[f"{block}.dense_2.w"], w[f"{block}.dense_2.b"]))
    x = dense(x, w["net.dense_1.w"], w["net.dense_1.b"])
    graph.save(path, TensorProto.INT64, ["batch", "length"], x, ["batch", "length", 26])


def one_hot(sequences):
    letters = np.array([["ACGT".index(letter) for letter in sequence] for sequence in sequences])
    return np.ascontiguousarray(np.eye(4, dtype=np.float32)[letters].transpose(0, 2, 1))


def tokens(sequences):
    return np.array([[LETTERS.index(letter) for letter in sequence] for sequence in sequences], dtype=np.int64)


# The order of `Protein` in bdl.
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
MODELS = {"basset": (basset, one_hot), "transformer": (transformer, tokens)}


def main(workload, weights, model, inputs, sequences):
    build, encode = MODELS[workload]
    build(tensors(weights), model)
    np.save(inputs, encode(pathlib.Path(sequences).read_text().split()))


main(*sys.argv[1:])
