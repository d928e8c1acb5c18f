"""Triplets and cosines. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=34)
inputs = {name: case.normal(6, 5) for name in ("anchor", "same", "different")}
one, two = case.dense("net.dense_1", 5, 6), case.dense("net.dense_2", 6, 3)
anchor, same, different = (two(torch.tanh(one(x))) for x in inputs.values())
triplet = lambda a, s, d, margin: F.relu((a - s).square().sum(1) - (a - d).square().sum(1) + margin)
each = triplet(anchor, same, different, 1) - 0.5 * F.cosine_similarity(anchor, same) + triplet(F.normalize(same, dim=1), anchor, different, 0.3)
case.finish(inputs, each.mean(), {"code": F.normalize(anchor, dim=1)})
