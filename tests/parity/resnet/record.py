"""Residual networks. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=31)
cells, dna, y = case.normal(4, 7, 6, 1), F.one_hot(case.below(4, 4, 11), 4).double(), case.below(3, 4)


def conv(path, rank, kernel, inputs, units, **options):
    """A convolution without bias."""
    w = case.weight(f"{path}.w", *[kernel] * rank, inputs, units, fan_in=kernel ** rank * inputs)
    run = F.conv1d if rank == 1 else F.conv2d
    return lambda x, training: run(x.movedim(-1, 1), w.movedim((-1, -2), (0, 1)), **options).movedim(1, -1)


def chain(*parts):
    def forward(x, training):
        for part in parts:
            x = part(x, training)
        return x
    return forward


relu = lambda x, training: F.relu(x)


def residual(path, rank, channels, kernel):
    inner = chain(conv(f"{path}.conv{rank}d_1", rank, kernel, channels, channels, padding=kernel // 2), case.batch_norm(f"{path}.batch_norm_1", channels), relu,
                  conv(f"{path}.conv{rank}d_2", rank, kernel, channels, channels, padding=kernel // 2), case.batch_norm(f"{path}.batch_norm_2", channels))
    return lambda x, training: F.relu(x + inner(x, training))


def projected(path, rank, inputs, units, stride):
    carry = chain(conv(f"{path}.conv{rank}d_1", rank, 1, inputs, units, stride=stride), case.batch_norm(f"{path}.batch_norm_1", units))
    inner = chain(conv(f"{path}.conv{rank}d_2", rank, 3, inputs, units, padding=1, stride=stride), case.batch_norm(f"{path}.batch_norm_2", units), relu,
                  conv(f"{path}.conv{rank}d_3", rank, 3, units, units, padding=1), case.batch_norm(f"{path}.batch_norm_3", units))
    return lambda x, training: F.relu(carry(x, training) + inner(x, training))


def dilated(path, channels):
    one, first = case.batch_norm(f"{path}.batch_norm_1", channels), conv(f"{path}.conv1d_1", 1, 3, channels, channels, padding=2, dilation=2)
    two, second = case.batch_norm(f"{path}.batch_norm_2", channels), case.conv1d(f"{path}.conv1d_2", 3, channels, channels, padding=2, dilation=2)
    return lambda x, training: x + second(F.relu(two(first(F.relu(one(x, training)), training), training)))


stem, start = case.conv2d("net.conv2d_1", 3, 1, 2, padding=1), case.conv1d("net.conv1d_1", 1, 4, 3)
image = chain(residual("net.residual2d_1", 2, 2, 3), projected("net.projected2d_1", 2, 2, 3, 2))
track = chain(dilated("net.dilated_residual1d_1", 3), projected("net.projected1d_1", 1, 3, 4, 3), residual("net.residual1d_1", 1, 4, 5))
last = case.dense("net.dense_1", 7, 3)


def net(training):
    a, b = image(stem(cells), training), track(start(dna), training)
    return last(torch.cat([a.mean((1, 2)), b.repeat_interleave(3, 1).max(1).values], 1))


case.finish({"cells": cells, "dna": dna, "y": y}, F.cross_entropy(net(True), y), {"scores": net(False)})
