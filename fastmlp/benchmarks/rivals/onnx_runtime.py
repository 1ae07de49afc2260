"""ONNX Runtime: a session on one thread, run on rows."""

from collections.abc import Callable
from typing import Any

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import fastmlp as fm


def predictor(mlp: fm.MLP) -> Callable[[Any], Any]:
    """Return a function of rows (n, n_in) that computes what ``mlp.predict`` does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model(mlp), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def model(mlp: fm.MLP) -> bytes:
    """Return the network as ONNX: Gemm and activation, layer by layer."""
    nodes, constants, name = [], [], "x"
    operators = {"relu": "Relu", "tanh": "Tanh", "softmax": "Softmax", "identity": "Identity"}
    for i, (w, b) in enumerate(zip(mlp.weights, mlp.biases, strict=True)):
        constants += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [f"z{i}"]))
        nodes.append(helper.make_node(operators[mlp.activations[i]], [f"z{i}"], [f"a{i}"]))
        name = f"a{i}"
    ends = (("x", mlp.sizes[0]), (name, mlp.sizes[-1]))
    x, out = (
        helper.make_tensor_value_info(end, TensorProto.FLOAT, [None, size]) for end, size in ends
    )
    graph = helper.make_graph(nodes, "mlp", [x], [out], constants)
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(found.SerializeToString())
