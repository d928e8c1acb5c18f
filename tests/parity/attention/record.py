"""Attention in PyTorch: causal and rotary, relative positions, a second sequence. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=20)
D, HEADS, T, S = 8, 2, 11, 7
residues, motif, target = case.below(20, 3, T), case.normal(3, S, 3), case.below(3, 3, T)


def heads(path, letter, inputs, width):
    w = case.weight(f"{path}.w{letter}", inputs, HEADS, width // HEADS, fan_in=inputs)
    return w, 0 if letter == "k" else case.weight(f"{path}.b{letter}", HEADS, width // HEADS)


def rotate(x):
    """Pairs of channels as complex numbers, turned; x [B, T, H, E]."""
    half = x.shape[-1] // 2
    angle = torch.outer(torch.arange(x.shape[1]).double(), 10000.0 ** (-torch.arange(half) / half))
    turned = torch.view_as_complex(x.reshape(*x.shape[:-1], half, 2)) * torch.polar(torch.ones_like(angle), angle)[:, None]
    return torch.view_as_real(turned).reshape(x.shape)


def attention(path, width, memory=None, causal=False, turned=False, span=None):
    q, k, v = heads(path, "q", width, width), heads(path, "k", memory or width, width), heads(path, "v", memory or width, width)
    wo, bo = case.weight(f"{path}.wo", HEADS, width // HEADS, width, fan_in=width), case.weight(f"{path}.bo", width)
    distances = case.weight(f"{path}.relative_positions_1.w", HEADS, 2 * span + 1) if span else None

    def forward(x, y):
        a, b, c = (torch.einsum("btd,dhe->bthe", z, w) + bias for z, (w, bias) in ((x, q), (y, k), (y, v)))
        if turned:
            a, b = rotate(a), rotate(b)
        mask = None
        if span:
            apart = torch.arange(y.shape[1])[None, :] - torch.arange(x.shape[1])[:, None]
            mask = distances[:, apart.clamp(-span, span) + span]
        o = F.scaled_dot_product_attention(a.transpose(1, 2), b.transpose(1, 2), c.transpose(1, 2), attn_mask=mask, is_causal=causal)
        return torch.einsum("bhte,hed->btd", o, wo) + bo
    return forward


def block(path, width, hidden, **options):
    norm1, attend = case.layer_norm(f"{path}.layer_norm_1", width), attention(f"{path}.self_attention_1", width, **options)
    norm2, up, down = case.layer_norm(f"{path}.layer_norm_2", width), case.dense(f"{path}.dense_1", width, hidden), case.dense(f"{path}.dense_2", hidden, width)

    def forward(x):
        y = norm1(x)
        h = x + attend(y, y)
        return h + down(F.gelu(up(norm2(h))))
    return forward


def decoder(path, width, hidden, memory):
    norm1, own = case.layer_norm(f"{path}.layer_norm_1", width), attention(f"{path}.self_attention_1", width, causal=True)
    norm2, other = case.layer_norm(f"{path}.layer_norm_2", width), attention(f"{path}.cross_attention_1", width, memory)
    norm3, up, down = case.layer_norm(f"{path}.layer_norm_3", width), case.dense(f"{path}.dense_1", width, hidden), case.dense(f"{path}.dense_2", hidden, width)

    def forward(x, y):
        n = norm1(x)
        a = x + own(n, n)
        h = a + other(norm2(a), y)
        return h + down(F.gelu(up(norm3(h))))
    return forward


first, encode = case.dense("net.dense_1", 3, 4), block("net.transformer_block_1", 4, 6, span=2)
table, read = case.weight("net.embedding_1.w", 20, D), block("net.transformer_block_2", D, 12, causal=True, turned=True)
decode, learned, last = decoder("net.decoder_block_1", D, 10, 4), case.weight("net.learned_positions_1.w", 16, D), case.dense("net.dense_2", D, 3)

pair = torch.arange(T).double()[:, None] / 10000.0 ** (torch.arange(0, D, 2) / D)
waves = torch.stack([pair.sin(), pair.cos()], -1).reshape(T, D)
memory = encode(first(motif))
scores = last(decode(read(F.embedding(residues, table) + waves), memory) + learned[:T])
case.finish({"residues": residues, "motif": motif, "target": target}, F.cross_entropy(scores.reshape(-1, 3), target.reshape(-1)), {"scores": scores})
