"""What the `record.py` of every folder beside this file shares: weights with names, and the three files that a case consists of.

    python -m venv env && env/bin/pip install torch numpy safetensors
    for case in tests/parity/*/record.py; do env/bin/python $case; done

Everything is computed in f64 on the CPU with a fixed seed. A folder holds

    model.bdl             the program, on synthetic data of the right shapes
    weights.safetensors   parameters and state under bdl's paths and in bdl's layouts (Dense [in, out], Conv1d [tap, in, out])
    inputs.npz            a batch under the names of the fields, examples first; classes and letters as int32. Where examples have lengths
                          of their own they lie end to end, and FIELD.len holds the lengths
    expected.safetensors  what PyTorch gives: predictions by name (evaluation mode), `loss` and `grad.PATH` (training mode); of a program
                          with steps, `STEP.loss` and `STEP.grad.PATH`
"""
import pathlib

import numpy
import torch
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)


class Case:
    """One folder. Weights are made in the order in which they are asked for, hence the seed decides everything."""

    def __init__(self, file, seed):
        self.folder = pathlib.Path(file).parent
        self.weights, self.states = {}, {}
        self.random = torch.Generator().manual_seed(seed)

    def normal(self, *shape, scale=1.0):
        return scale * torch.randn(shape, generator=self.random)

    def below(self, n, *shape):
        return torch.randint(0, n, shape, generator=self.random)

    def weight(self, path, *shape, fan_in=None):
        """A trained tensor; normal, with variance 1 / fan_in where that is given. Biases too are random, so that a lost one shows."""
        value = self.normal(*shape, scale=fan_in ** -0.5 if fan_in else 0.5)
        self.weights[path] = value.requires_grad_()
        return self.weights[path]

    def state(self, path, value):
        self.states[path] = value
        return value

    def dense(self, path, inputs, units):
        w, b = self.weight(f"{path}.w", inputs, units, fan_in=inputs), self.weight(f"{path}.b", units)
        return lambda x: x @ w + b

    def neuron(self, path, inputs):
        w, b = self.weight(f"{path}.w", inputs, fan_in=inputs), self.weight(f"{path}.b")
        return lambda x: x @ w + b

    def conv1d(self, path, kernel, inputs, units, **options):
        """x [B, T, C]."""
        w, b = self.weight(f"{path}.w", kernel, inputs, units, fan_in=kernel * inputs), self.weight(f"{path}.b", units)
        return lambda x: torch.nn.functional.conv1d(x.transpose(1, 2), w.permute(2, 1, 0), b, **options).transpose(1, 2)

    def conv2d(self, path, kernel, inputs, units, **options):
        """x [B, H, W, C]."""
        w, b = self.weight(f"{path}.w", kernel, kernel, inputs, units, fan_in=kernel * kernel * inputs), self.weight(f"{path}.b", units)
        return lambda x: torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), b, **options).permute(0, 2, 3, 1)

    def batch_norm(self, path, channels):
        """x [B, .., C]; called with training as second argument."""
        gain, bias = self.weight(f"{path}.gain", channels), self.weight(f"{path}.bias", channels)
        mu, var = self.state(f"{path}.mu", self.normal(channels)), self.state(f"{path}.var", self.normal(channels) ** 2 + 0.5)
        return lambda x, training: torch.nn.functional.batch_norm(
            x.transpose(1, -1), mu.clone(), var.clone(), gain, bias, training, 0.1, 1e-5).transpose(1, -1)

    def layer_norm(self, path, channels):
        gain, bias = self.weight(f"{path}.gain", channels), self.weight(f"{path}.bias", channels)
        return lambda x: torch.nn.functional.layer_norm(x, (channels,), gain, bias, 1e-5)

    def gru(self, path, inputs, units):
        """x [T, C], one sequence. Gates r, u, n as in PyTorch."""
        w, v = self.weight(f"{path}.w", inputs, 3, units, fan_in=inputs), self.weight(f"{path}.v", units, 3, units, fan_in=units)
        b, d = self.weight(f"{path}.b", 3, units), self.weight(f"{path}.d", 3, units)
        rows = lambda m: m.permute(1, 2, 0).reshape(3 * units, -1)
        return lambda x: torch.gru(x[None], torch.zeros(1, 1, units), [rows(w), rows(v), b.flatten(), d.flatten()], True, 1, 0.0, False, False, True)[0][0]

    def lstm(self, path, inputs, units):
        """x [T, C], one sequence. bdl's gates are f, i, g, o; PyTorch's i, f, g, o."""
        w, u = self.weight(f"{path}.w", inputs, 4, units, fan_in=inputs), self.weight(f"{path}.u", units, 4, units, fan_in=units)
        b, order = self.weight(f"{path}.b", 4, units), [1, 0, 2, 3]
        rows = lambda m: m.permute(1, 2, 0)[order].reshape(4 * units, -1)
        start = (torch.zeros(1, 1, units), torch.zeros(1, 1, units))
        biases = [b[order].flatten(), torch.zeros(4 * units)]
        return lambda x: torch.lstm(x[None], start, [rows(w), rows(u), *biases], True, 1, 0.0, False, False, True)[0][0]

    def finish(self, inputs, loss, predictions):
        """Writes the files. `loss` is a tensor made in training mode, `predictions` tensors made in evaluation mode."""
        self.finish_steps(inputs, {"": (loss, list(self.weights))}, predictions)

    def finish_steps(self, inputs, losses, predictions):
        """The same for several objectives: by the name of its step, each loss and the paths of what it trains."""
        expected = {name: p.detach() for name, p in predictions.items()}
        for step, (loss, paths) in losses.items():
            within = f"{step}." if step else ""
            gradients = torch.autograd.grad(loss, [self.weights[path] for path in paths], retain_graph=True)
            largest = max(g.abs().max() for g in gradients)
            # What cancels in exact arithmetic (a bias before a batch normalisation, the bias of keys) leaves rounding errors: it is 0.
            exact = [torch.zeros_like(g) if g.abs().max() < 1e-12 * largest else g for g in gradients]
            expected |= {f"{within}grad.{path}": g for path, g in zip(paths, exact)} | {f"{within}loss": loss.detach()}
        stored = lambda tensors: {name: t.detach().contiguous() for name, t in tensors.items()}
        save_file(stored(self.weights | self.states), self.folder / "weights.safetensors")
        save_file(stored(expected), self.folder / "expected.safetensors")
        numpy.savez(self.folder / "inputs.npz", **{name: narrow(t) for name, t in inputs.items()})
        size = sum(f.stat().st_size for f in self.folder.iterdir() if f.is_file())
        shown = "  ".join(f"{step or 'loss'} {loss.item():.6f}" for step, (loss, _) in losses.items())
        print(f"{self.folder.name:10s} {len(self.weights):3d} tensors  {shown}  {size // 1024:4d} kB  torch {torch.__version__}")


def narrow(tensor):
    array = numpy.ascontiguousarray(tensor.numpy()) if tensor.dim() else tensor.numpy()
    return array.astype(numpy.int32) if array.dtype == numpy.int64 else array
