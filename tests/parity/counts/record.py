"""Likelihoods of counts by torch.distributions. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=25)
x = case.below(7, 5, 6).double() * case.below(2, 5, 6)
first, centre, spread = case.dense("net.dense_1", 6, 5), case.dense("net.gaussian_head_1.dense_1", 5, 2), case.dense("net.gaussian_head_1.dense_2", 5, 2)
back, rate, gate, size = case.dense("net.dense_2", 2, 5), case.dense("net.dense_3", 5, 6), case.dense("net.dense_4", 5, 6), case.weight("net.size", 6)
D = torch.distributions

h = torch.tanh(first(torch.log1p(x)))
m, v = centre(h), spread(h)
h = torch.tanh(back(m))
log_mean, lost = rate(h), gate(h)
code, other = D.Normal(m, (v / 2).exp()), D.Normal(v, (m / 2).exp())
plain = D.NegativeBinomial(total_count=size.exp(), logits=log_mean - size).log_prob(x)
lossy = torch.where(x > 0, (1 - lost.sigmoid()).log() + plain, (lost.sigmoid() + (1 - lost.sigmoid()) * plain.exp()).log())
normal = D.Normal(lost, (log_mean / 2).exp()).log_prob(x)
standard = D.Normal(torch.zeros_like(m), torch.ones_like(m))
each = D.kl_divergence(code, standard).sum(1) + 0.3 * D.kl_divergence(code, other).sum(1) - (lossy + 0.5 * plain + 0.1 * normal).sum(1)
case.finish({"x": x}, each.mean(), {"rate": log_mean.exp()})
