"""The network of examples/wdbc in PyTorch. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=12)
x, malignant = case.normal(7, 30), case.below(2, 7).bool()
hidden, last = case.dense("net.dense_1", 30, 16), case.neuron("net.neuron_1", 16)
score = last(F.relu(hidden(x)))
loss = F.binary_cross_entropy_with_logits(score, malignant.double()) + 1e-2 * case.weights["net.dense_1.w"].square().sum()
case.finish({"x": x, "malignant": malignant}, loss, {"p": torch.sigmoid(score)})
