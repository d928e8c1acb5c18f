"""One Evoformer block by einsum. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from block import block
from recording import Case

case = Case(__file__, seed=33)
C, K = 4, 6
alignment, pairs = case.normal(2, 3, 5, C), case.normal(2, 5, 5, K)
shown, distance = case.normal(2, 3, 5, C), case.below(5, 2, 5, 5)
evolve = block(case, "net.evoformer_block_1", C, K, heads=2, pair_heads=3, hidden=3, triangle=3, outer_fan_in=3)
bins = case.dense("net.distogram_1.dense_1", K, 5)

m, z = evolve(alignment, pairs)
l = bins(z) + bins(z.transpose(1, 2))
loss = F.mse_loss(m, shown) + F.cross_entropy(l.reshape(-1, 5), distance.reshape(-1))
case.finish({"alignment": alignment, "pairs": pairs, "shown": shown, "distance": distance}, loss, {"show": m, "bins": l})
