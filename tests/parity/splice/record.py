"""The network of examples/splice in PyTorch. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=11)
dna, site = F.one_hot(case.below(4, 5, 60), 4).double(), case.below(3, 5)
conv1, conv2 = case.conv1d("net.conv1d_1", 9, 4, 6), case.conv1d("net.conv1d_2", 5, 6, 12)
hidden, last = case.dense("net.dense_1", 132, 16), case.dense("net.dense_2", 16, 3)


def pool(x):
    return F.max_pool1d(x.transpose(1, 2), 2).transpose(1, 2)


def net(x):
    h = pool(F.relu(conv2(pool(F.relu(conv1(x))))))
    return last(F.relu(hidden(h.flatten(1))))


case.finish({"dna": dna, "site": site}, F.cross_entropy(net(dna), site), {"kind": F.softmax(net(dna), -1)})
