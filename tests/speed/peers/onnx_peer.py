"""ONNX Runtime on a model of onnx_build.py: `onnx_peer.py MODEL.onnx INPUT.npy THREADS ROWS` speaks the protocol of session.py,
with `once OUT.npy` after them it gives one answer and ends."""
import sys

import session

session.importing()
import numpy as np
import onnxruntime

session.imported(f"onnxruntime {onnxruntime.__version__}")


def main(model, inputs, threads, rows, once=None, out=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
    run = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = np.load(inputs)
    x = x[: int(rows)]
    if once:
        np.save(out, run.run(None, {"x": x})[0])
        return
    session.serve(lambda: run.run(None, {"x": x}))


main(*sys.argv[1:])
