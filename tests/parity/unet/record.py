"""U-Nets over images and sequences. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=32)
cells, dna = case.normal(3, 8, 4, 2), F.one_hot(case.below(4, 3, 12), 4).double()
cell, depth = case.below(2, 3, 8, 4).double(), case.normal(3, 12)


def twice(path, rank, inputs, units, kernel=3):
    make = case.conv1d if rank == 1 else case.conv2d
    one = make(f"{path}.conv{rank}d_1", kernel, inputs, units, padding=kernel // 2)
    two = make(f"{path}.conv{rank}d_2", kernel, units, units, padding=kernel // 2)
    return lambda x: F.relu(two(F.relu(one(x))))


def level(path, rank, inputs, units, inner):
    before = twice(f"{path}.twice{rank}d_1", rank, inputs, units)
    deeper = inner(f"{path}.inner", units)
    w, b = case.weight(f"{path}.up_conv{rank}d_1.w", *[2] * rank, 2 * units, units, fan_in=2 * units), case.weight(f"{path}.up_conv{rank}d_1.b", units)
    after = twice(f"{path}.twice{rank}d_2", rank, 2 * units, units)
    pool, up = (F.max_pool1d, F.conv_transpose1d) if rank == 1 else (F.max_pool2d, F.conv_transpose2d)

    def forward(x):
        a = before(x)
        h = deeper(pool(a.movedim(-1, 1), 2).movedim(1, -1))
        return after(torch.cat([a, up(h.movedim(-1, 1), w.movedim((-2, -1), (0, 1)).contiguous(), b, stride=2).movedim(1, -1)], -1))
    return forward


image = level("net.unet2d_1", 2, 2, 2, lambda path, c: level(path, 2, c, 4, lambda path, c: twice(path, 2, c, 8)))
track = level("net.unet1d_1", 1, 4, 2, lambda path, c: level(path, 1, c, 4, lambda path, c: twice(path, 1, c, 8, kernel=5)))
one, two = case.neuron("net.neuron_1", 2), case.neuron("net.neuron_2", 2)
a, b = one(image(cells)), two(track(dna))
loss = F.binary_cross_entropy_with_logits(a, cell) + F.mse_loss(b, depth)
case.finish({"cells": cells, "dna": dna, "cell": cell.bool(), "depth": depth}, loss, {"image": a.sigmoid(), "track": b})
