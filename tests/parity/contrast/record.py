"""InfoNCE as the cross-entropy of cosines. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=27)
first, second = case.normal(6, 5), case.normal(6, 5)
one, two = case.dense("net.dense_1", 5, 6), case.dense("net.dense_2", 6, 3)
net = lambda x: two(torch.tanh(one(x)))
a, b = net(first), net(second)
cosines, own = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T, torch.arange(6)
both = (F.cross_entropy(cosines / 0.5, own) + F.cross_entropy(cosines.T / 0.5, own)) / 2
triplet = F.relu(((a - b) ** 2).sum(1) - ((a - first[:, :3]) ** 2).sum(1) + 1).mean()
case.finish({"first": first, "second": second}, F.cross_entropy(cosines / 0.1, own) + 0.5 * both + triplet, {"code": a})
