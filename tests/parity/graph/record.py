"""Message passing in PyTorch, one graph at a time. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=19)
atoms, src, dst, y = case.normal(4, 7, 5), case.below(7, 4, 11), case.below(7, 4, 11), case.normal(4)
first, layers = case.dense("net.dense_1", 5, 6), []
for number in (1, 2):
    layers.append((case.dense(f"net.gin_layer_{number}.dense_1", 6, 6), case.dense(f"net.gin_layer_{number}.dense_2", 6, 6)))
last = case.neuron("net.neuron_1", 6)


def net(atoms, src, dst):
    h = first(atoms)
    for one, two in layers:
        near = torch.zeros_like(h).index_add(0, dst, h[src])
        h = F.relu(two(F.relu(one(h + near))))
    return last(h.sum(0))


guess = torch.stack([net(*graph) for graph in zip(atoms, src, dst)])
case.finish({"atoms": atoms, "src": src, "dst": dst, "y": y}, F.mse_loss(guess, y), {"guess": guess})
