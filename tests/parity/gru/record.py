"""Gated recurrent units over sequences of different lengths in PyTorch, one at a time. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=41)
lengths = torch.tensor([7, 2, 11, 1, 5, 7])
dna, state = F.one_hot(case.below(4, int(lengths.sum())), 4).double(), case.below(4, int(lengths.sum()))
one, two = case.gru("net.gru_1", 4, 6), case.gru("net.gru_2", 6, 5)
last = case.dense("net.dense_1", 5, 4)
score = torch.cat([last(two(one(x).flip(0)).flip(0)) for x in dna.split(lengths.tolist())])
case.finish({"dna": dna, "dna.len": lengths, "state": state, "state.len": lengths}, F.cross_entropy(score, state), {"score": score.flatten()})
