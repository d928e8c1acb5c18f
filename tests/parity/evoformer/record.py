"""One Evoformer block by einsum. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=33)
C, K, HEADS, PAIR_HEADS, HIDDEN = 4, 6, 2, 3, 3
alignment, pairs = case.normal(2, 3, 5, C), case.normal(2, 5, 5, K)
shown, distance = case.normal(2, 3, 5, C), case.below(5, 2, 5, 5)
BLOCK = "net.evoformer_block_1"


def weights(path, width, heads, bias=None):
    make = lambda name: case.weight(f"{path}.{name}", width, heads, width // heads, fan_in=width)
    found = {name: make(name) for name in ("wq", "wk", "wv", "gate")}
    found["open"] = case.weight(f"{path}.open", heads, width // heads)
    if bias:
        found["b"] = case.weight(f"{path}.b", bias, heads, fan_in=bias)
    found["wo"] = case.weight(f"{path}.wo", heads, width // heads, width, fan_in=width)
    return found | {"bo": case.weight(f"{path}.bo", width)}


def attend(x, p, bias=None):
    """Along the last axis but one of x [.., T, C]; bias [.., heads, T, T]."""
    q, k, v, g = (torch.einsum("...tc,che->...hte", x, p[name]) for name in ("wq", "wk", "wv", "gate"))
    o = F.scaled_dot_product_attention(q, k, v, attn_mask=bias) * torch.sigmoid(g + p["open"][:, None])
    return torch.einsum("...hte,hec->...tc", o, p["wo"]) + p["bo"]


def row_attention(path):
    m_norm, z_norm, p = case.layer_norm(f"{path}.layer_norm_1", C), case.layer_norm(f"{path}.layer_norm_2", K), weights(path, C, HEADS, K)
    return lambda m, z: attend(m_norm(m), p, torch.einsum("bijk,kh->bhij", z_norm(z), p["b"])[:, None])


def column_attention(path):
    norm, p = case.layer_norm(f"{path}.layer_norm_1", C), weights(path, C, HEADS)
    return lambda m: attend(norm(m).transpose(1, 2), p).transpose(1, 2)


def transition(path, width):
    norm, up, down = case.layer_norm(f"{path}.layer_norm_1", width), case.dense(f"{path}.dense_1", width, 4 * width), case.dense(f"{path}.dense_2", 4 * width, width)
    return lambda x: down(F.relu(up(norm(x))))


def outer_product_mean(path):
    norm, left, right = case.layer_norm(f"{path}.layer_norm_1", C), case.dense(f"{path}.dense_1", C, HIDDEN), case.dense(f"{path}.dense_2", C, HIDDEN)
    w, b = case.weight(f"{path}.w", HIDDEN, HIDDEN, K, fan_in=HIDDEN), case.weight(f"{path}.b", K)
    return lambda m: torch.einsum("bsic,bsjd,cdp->bijp", left(norm(m)), right(norm(m)), w) / m.shape[1] + b


def triangle_multiplication(path, equation):
    norm, (ag, a, bg, b) = case.layer_norm(f"{path}.layer_norm_1", K), (case.dense(f"{path}.dense_{n}", K, HIDDEN) for n in (1, 2, 3, 4))
    gate, inner, out = case.dense(f"{path}.dense_5", K, K), case.layer_norm(f"{path}.layer_norm_2", HIDDEN), case.dense(f"{path}.dense_6", HIDDEN, K)

    def forward(z):
        x = norm(z)
        y = torch.einsum(equation, ag(x).sigmoid() * a(x), bg(x).sigmoid() * b(x))
        return gate(x).sigmoid() * out(inner(y))
    return forward


def triangle_attention(path, starting):
    norm, p = case.layer_norm(f"{path}.layer_norm_1", K), weights(path, K, PAIR_HEADS, K)

    def forward(z):
        x = norm(z) if starting else norm(z).transpose(1, 2)
        y = attend(x, p, torch.einsum("bjkc,ch->bhjk", x, p["b"])[:, None])
        return y if starting else y.transpose(1, 2)
    return forward


rows, columns, after = row_attention(f"{BLOCK}.row_attention_1"), column_attention(f"{BLOCK}.column_attention_1"), transition(f"{BLOCK}.transition_1", C)
parts = [triangle_multiplication(f"{BLOCK}.triangle_multiplication_1", "bikc,bjkc->bijc"), triangle_multiplication(f"{BLOCK}.triangle_multiplication_2", "bkic,bkjc->bijc"),
         triangle_attention(f"{BLOCK}.triangle_attention_1", True), triangle_attention(f"{BLOCK}.triangle_attention_2", False), transition(f"{BLOCK}.transition_2", K)]
outer, bins = outer_product_mean(f"{BLOCK}.outer_product_mean_1"), case.dense("net.distogram_1.dense_1", K, 5)

m, z = alignment, pairs
m = m + rows(m, z)
m = m + columns(m)
m = m + after(m)
z = z + outer(m)
for part in parts:
    z = z + part(z)
l = bins(z) + bins(z.transpose(1, 2))
loss = F.mse_loss(m, shown) + F.cross_entropy(l.reshape(-1, 5), distance.reshape(-1))
case.finish({"alignment": alignment, "pairs": pairs, "shown": shown, "distance": distance}, loss, {"show": m, "bins": l})
