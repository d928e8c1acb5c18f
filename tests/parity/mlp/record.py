"""A perceptron in PyTorch. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=13)
x, y = case.normal(9, 37), case.below(10, 9)
one, two = case.dense("net.dense_1", 37, 24), case.dense("net.dense_2", 24, 13)
three, four = case.weight("net.dense_3.w", 13, 11, fan_in=13), case.dense("net.dense_4", 11, 10)
scores = four(torch.tanh(F.selu(two(F.gelu(one(x)))) @ three))
case.finish({"x": x, "y": y}, F.cross_entropy(scores, y), {"logits": scores, "kind": F.softmax(scores, -1)})
