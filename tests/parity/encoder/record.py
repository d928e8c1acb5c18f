"""A Transformer encoder in PyTorch. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=18)
D, HEADS, E = 8, 2, 4
residues, target = case.below(20, 3, 13), case.below(3, 3, 13)
table, blocks = case.weight("net.embedding_1.w", 26, D), []
for number in (1, 2):
    path = f"net.block_{number}"
    attention = {}
    for letter in "qkv":
        attention[letter] = (case.weight(f"{path}.self_attention_1.w{letter}", D, HEADS, E, fan_in=D),
                             case.weight(f"{path}.self_attention_1.b{letter}", HEADS, E))
    attention["o"] = (case.weight(f"{path}.self_attention_1.wo", HEADS, E, D, fan_in=D), case.weight(f"{path}.self_attention_1.bo", D))
    blocks.append((case.layer_norm(f"{path}.layer_norm_1", D), attention, case.layer_norm(f"{path}.layer_norm_2", D),
                   case.dense(f"{path}.dense_1", D, 12), case.dense(f"{path}.dense_2", 12, D)))
last = case.dense("net.dense_1", D, 3)


def attend(x, parts):
    q, k, v = (torch.einsum("btd,dhe->bhte", x, parts[c][0]) + parts[c][1][:, None] for c in "qkv")
    o = F.scaled_dot_product_attention(q, k, v)
    return torch.einsum("bhte,hed->btd", o, parts["o"][0]) + parts["o"][1]


h = F.embedding(residues, table)
for norm1, attention, norm2, up, down in blocks:
    h = h + attend(norm1(h), attention)
    h = h + down(F.gelu(up(norm2(h))))
scores = last(h)
case.finish({"residues": residues, "target": target}, F.cross_entropy(scores.reshape(-1, 3), target.reshape(-1)), {"scores": scores})
