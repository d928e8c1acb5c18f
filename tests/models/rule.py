"""Large models against PyTorch without large files: weights by a rule, and gradients by a few sums of all their elements.

    python -m venv env && env/bin/pip install torch numpy safetensors
    for script in tests/models/record_*.py; do env/bin/python $script; done

A model NAME of this folder has NAME.bdl, and beside it what a script writes:

    NAME.npz     a batch of inputs under the names of the fields, as `bdl grad` reads them (f32 numbers; classes and letters as int32)
    NAME.json    `set`: values of hyper-parameters for the comparison (dropout off); `replace`: what of the program is another length;
                 `weights`: shape, scale and shift of every parameter and state; `expected`: digests of what PyTorch computes in f64

Weights. Element i of the weight with path P is f32(shift + scale * u), u = (w >> 40) / 2^23 - 1 in [-1, 1), where w is word i of the stream P:
SplitMix64 (Steele, Lea and Flood 2014) at seed + (i + 1) * 0x9E3779B97F4A7C15, seed being the 64-bit FNV-1a hash of P. The test makes the same numbers
and stores them as safetensors, from which `bdl grad` reads them.

Digests. A tensor of up to 64 elements is stored whole. Of a larger one stand the largest magnitude and four sums over all elements, sum j of element i times
(-1)^s (1/2 + m / 2^15), where s is the lowest and m the upper 15 of bits 16 j to 16 j + 15 of word i of the stream "check NAME". Every element has a
weight of at least 1/2 in each sum, so one wrong element shows whichever it is, and that several cancel in all four has the odds 2^-60.
"""
import json
import pathlib
import sys

import numpy
import torch

FOLDER = pathlib.Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "parity"))
from recording import Case, narrow

WHOLE = 64


def words(stream, count):
    seed = 0xCBF29CE484222325
    for byte in stream.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(seed) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        return z ^ (z >> numpy.uint64(31))


def by_rule(stream, shape, scale, shift):
    u = (words(stream, int(numpy.prod(shape))) >> numpy.uint64(40)).astype(numpy.float64) / 2**23 - 1
    return torch.from_numpy((shift + scale * u).astype(numpy.float32).astype(numpy.float64).reshape(shape))


def digest(name, tensor):
    values = tensor.detach().contiguous().numpy().reshape(-1)
    if values.size <= WHOLE:
        return {"shape": list(tensor.shape), "values": values.tolist()}
    w, sums = words(f"check {name}", values.size), []
    for j in range(4):
        half = w >> numpy.uint64(16 * j) & numpy.uint64(0xFFFF)
        weight = (0.5 + (half >> numpy.uint64(1)).astype(numpy.float64) / 2**15) * numpy.where(half & numpy.uint64(1), -1.0, 1.0)
        sums.append(float((weight * values).sum()))
    return {"shape": list(tensor.shape), "largest": float(numpy.abs(values).max()), "sums": sums}


class Model(Case):
    """A `Case` (../parity/recording.py) whose weights follow the rule. `settings` are values of hyper-parameters, `replace` pairs of texts."""

    def __init__(self, name, seed, settings=(), replace=()):
        self.name, self.settings, self.replace = name, list(settings), [list(pair) for pair in replace]
        self.weights, self.states, self.rules = {}, {}, {}
        self.random = torch.Generator().manual_seed(seed)

    def normal(self, *shape, scale=1.0):
        return super().normal(*shape, scale=scale).float().double()

    def ruled(self, path, shape, scale, shift=0.0):
        self.rules[path] = {"shape": list(shape), "scale": scale, "shift": shift}
        return by_rule(path, shape, scale, shift)

    def weight(self, path, *shape, fan_in=None, scale=None):
        """Uniform with variance 1 / fan_in where that is given, else within 1/2 of 0; gains within 1/2 of 1."""
        scale = scale or (float(numpy.float32((3 / fan_in) ** 0.5)) if fan_in else 0.5)
        self.weights[path] = self.ruled(path, shape, scale, 1.0 if path.endswith(".gain") else 0.0).requires_grad_()
        return self.weights[path]

    def state(self, path, value):
        self.states[path] = self.ruled(path, value.shape, 0.5, 1.0 if path.endswith(".var") else 0.0)
        return self.states[path]

    def finish_steps(self, inputs, losses, predictions):
        expected = {name: digest(name, p) for name, p in predictions.items()}
        for step, (loss, paths) in losses.items():
            within = f"{step}." if step else ""
            gradients = torch.autograd.grad(loss, [self.weights[path] for path in paths], retain_graph=True)
            largest = max(g.abs().max() for g in gradients)
            for path, g in zip(paths, gradients):
                # What cancels in exact arithmetic (a bias before a batch normalisation) leaves rounding errors: it is 0.
                exact = torch.zeros_like(g) if g.abs().max() < 1e-12 * largest else g
                expected[f"{within}grad.{path}"] = digest(f"{within}grad.{path}", exact)
            expected[f"{within}loss"] = digest(f"{within}loss", loss)
        lines = lambda table: "{\n" + ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in table.items()) + "\n  }"
        text = "{\n" + ",\n".join([
            f'  "set": {json.dumps(self.settings)}', f'  "replace": {json.dumps(self.replace)}',
            f'  "weights": {lines(self.rules)}', f'  "expected": {lines(expected)}']) + "\n}\n"
        (FOLDER / f"{self.name}.json").write_text(text)
        single = {name: a.astype(numpy.float32) if a.dtype == numpy.float64 else a for name, a in ((n, narrow(t)) for n, t in inputs.items())}
        numpy.savez_compressed(FOLDER / f"{self.name}.npz", **single)
        size = sum((FOLDER / f"{self.name}.{kind}").stat().st_size for kind in ("json", "npz"))
        count = sum(w.numel() for w in self.weights.values())
        shown = "  ".join(f"{step or 'loss'} {loss.item():.6f}" for step, (loss, _) in losses.items())
        print(f"{self.name:16s} {count:9d} weights  {shown}  {size // 1024:4d} kB  torch {torch.__version__}")
