"""Sequences of different lengths in PyTorch, one at a time. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=17)
lengths = torch.tensor([9, 2, 5, 14, 1])
dna, gc = F.one_hot(case.below(4, int(lengths.sum())), 4).double(), case.normal(5)
hidden, last = case.dense("net.dense_1", 4, 5), case.neuron("net.neuron_1", 5)
guess = torch.stack([last(torch.tanh(hidden(one)).mean(0)) for one in dna.split(lengths.tolist())])
case.finish({"dna": dna, "dna.len": lengths, "gc": gc}, F.mse_loss(guess, gc), {"guess": guess})
