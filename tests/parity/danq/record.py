"""Convolution, pooling and a bidirectional LSTM in PyTorch. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=43)
dna, marks = case.below(4, 6, 40), case.normal(6, 5)
table, conv = case.weight("net.embedding_1.w", 4, 4), case.conv1d("net.conv1d_1", 6, 4, 7)
there, back = case.lstm("net.bidirectional_1.forward", 7, 4), case.lstm("net.bidirectional_1.backward", 7, 4)
hidden, last = case.dense("net.dense_1", 8 * 8, 9), case.dense("net.dense_2", 9, 5)
motifs = F.max_pool1d(F.relu(conv(F.embedding(dna, table))).transpose(1, 2), 4).transpose(1, 2)
both = torch.stack([torch.cat([there(x), back(x.flip(0)).flip(0)], 1) for x in motifs])
score = last(F.relu(hidden(both.flatten(1))))
loss = F.binary_cross_entropy_with_logits(score, torch.sigmoid(marks), reduction="none").sum(1).mean()
case.finish({"dna": dna, "marks": marks}, loss, {"score": score})
