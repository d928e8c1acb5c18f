"""The Cox partial likelihood by pairs, with ties, and the likelihood of four intervals as a product. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=26)
x, time, event, interval = case.normal(9, 5), case.below(6, 9).double(), case.below(3, 9) > 0, case.below(4, 9)
first, last, hazards = case.dense("net.dense_1", 5, 6), case.weight("net.neuron_1.w", 6, fan_in=6), case.dense("net.dense_2", 6, 4)
h = F.selu(first(x))
risk, hazard = h @ last, hazards(h).sigmoid()
at_risk = torch.where(time[None, :] >= time[:, None], risk[None, :], -torch.inf)
cox = torch.where(event, at_risk.logsumexp(1) - risk, 0.0)
before = torch.cat([torch.ones(9, 1), (1 - hazard).cumprod(1)], 1)
own = torch.arange(9), interval
likelihood = before[own] * torch.where(event, hazard[own], 1 - hazard[own])
loss = (cox - likelihood.log()).sum() / event.sum()
case.finish({"x": x, "time": time, "event": event, "interval": interval}, loss, {"risk": risk, "curve": before[:, 1:]})
