"""Two-dimensional convolutions in PyTorch. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=16)
cells, markers = case.normal(4, 13, 10, 2), case.below(2, 4, 3).bool()
first = case.conv2d("net.conv2d_1", 3, 2, 5, padding=1)
inner1 = case.conv2d("net.step_1.conv2d_1", 3, 5, 5, padding=1)
inner2 = case.conv2d("net.step_1.conv2d_2", 3, 5, 5, padding=2, dilation=2)
second, last = case.conv2d("net.conv2d_2", 3, 5, 6, stride=2), case.dense("net.dense_1", 6, 3)
h = F.max_pool2d(F.relu(first(cells)).permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
h = F.relu(h + inner2(F.relu(inner1(h))))
scores = last(F.elu(second(h)).mean((1, 2)))
loss = F.binary_cross_entropy_with_logits(scores, markers.double())
case.finish({"cells": cells, "markers": markers}, loss, {"p": torch.sigmoid(scores)})
