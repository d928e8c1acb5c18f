"""An embedding, a layer normalisation and a convolution in PyTorch. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=15)
residues, y = case.below(20, 6, 23), case.normal(6, 2)
table, norm = case.weight("net.embedding_1.w", 26, 7), case.layer_norm("net.layer_norm_1", 7)
conv, last = case.conv1d("net.conv1d_1", 4, 7, 9, padding="same"), case.dense("net.dense_1", 9, 2)
guess = last(F.silu(conv(norm(F.embedding(residues, table)))).mean(1))
case.finish({"residues": residues, "y": y}, F.huber_loss(guess, y), {"guess": guess})
