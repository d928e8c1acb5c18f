"""A bidirectional LSTM over sequences of different lengths in PyTorch, one at a time. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=42)
lengths = torch.tensor([3, 9, 1, 14, 6])
dna, kind = F.one_hot(case.below(4, int(lengths.sum())), 4).double(), case.below(3, 5)
there, back = case.lstm("net.bidirectional_1.forward", 4, 5), case.lstm("net.bidirectional_1.backward", 4, 6)
last = case.dense("net.dense_1", 11, 3)
both = lambda x: torch.cat([there(x), back(x.flip(0)).flip(0)], 1)
score = torch.stack([last(both(x).mean(0)) for x in dna.split(lengths.tolist())])
case.finish({"dna": dna, "dna.len": lengths, "kind": kind}, F.cross_entropy(score, kind), {"score": score})
