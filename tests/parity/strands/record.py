"""Both strands of DNA. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=30)
dna, y = F.one_hot(case.below(4, 3, 9), 4).double(), case.normal(3)


def both_strands(path, kernel, inputs, units):
    w, b = case.weight(f"{path}.w", kernel, inputs, units, fan_in=kernel * inputs), case.weight(f"{path}.b", units)
    run = lambda x, w: F.conv1d(x.transpose(1, 2), w.permute(2, 1, 0), b).transpose(1, 2)
    return lambda x: torch.cat([run(x, w), run(x, w.flip(0, 1)).flip(2)], 2)


def words(x, length):
    counts = x
    for shift in range(1, length):
        counts = torch.einsum("btw,btc->btwc", counts[:, :-1], x[:, shift:]).flatten(2)
    return counts.sum(1)


one, two, bases = both_strands("net.rc_conv1d_1", 4, 4, 3), both_strands("net.rc_conv1d_2", 3, 6, 2), case.dense("net.dense_1", 4, 4)
h = two(torch.tanh(one(dna)))
joined = h[:, :, :2] + h.flip(2)[:, :, :2]
turned = two(torch.tanh(one(dna.flip(1, 2))))
assert torch.allclose(turned, h.flip(1, 2)), "the layer for the other strand is the other strand of the layer"
place = ((torch.arange(4) + 0.5) / 4 - 0.5).expand(3, 4)[:, :, None]
h = torch.cat([joined, place], 2).max(1).values
p = bases(dna).softmax(2)
w = case.dense("net.dense_2", 336, 3)(torch.cat([words(p, 2), words(p.flip(1, 2), 3), words(p, 4)], 1))
guess = case.neuron("net.neuron_1", 6)(torch.cat([h, w], 1))
case.finish({"dna": dna, "y": y}, F.mse_loss(guess, y), {"guess": guess})
