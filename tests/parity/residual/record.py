"""Dilated residual blocks in PyTorch. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=14)
dna, site = F.one_hot(case.below(4, 3, 41), 4).double(), case.below(3, 3, 41)
first, last = case.conv1d("net.conv1d_1", 1, 4, 6), case.conv1d("net.conv1d_2", 1, 6, 3)
blocks = []
for number, dilation in enumerate((1, 4), 1):
    path = f"net.residual_unit_{number}"
    conv = {"dilation": dilation, "padding": 2 * dilation}
    blocks.append((case.batch_norm(f"{path}.batch_norm_1", 6), case.conv1d(f"{path}.conv1d_1", 5, 6, 6, **conv),
                   case.batch_norm(f"{path}.batch_norm_2", 6), case.conv1d(f"{path}.conv1d_2", 5, 6, 6, **conv)))


def net(x, training):
    h = first(x)
    for norm1, conv1, norm2, conv2 in blocks:
        h = h + conv2(F.relu(norm2(conv1(F.relu(norm1(h, training))), training)))
    return last(h)


loss = F.cross_entropy(net(dna, True).reshape(-1, 3), site.reshape(-1))
case.finish({"dna": dna, "site": site}, loss, {"scores": net(dna, False)})
