"""Models that read DNA, proteins and small molecules. How to run and what is written: rule.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from rule import Model


def conv1d(case, path, kernel, inputs, units, **options):
    """Without bias."""
    w = case.weight(f"{path}.w", kernel, inputs, units, fan_in=kernel * inputs)
    return lambda x: F.conv1d(x.transpose(1, 2), w.permute(2, 1, 0), **options).transpose(1, 2)


pool1d = lambda x, n: F.max_pool1d(x.transpose(1, 2), n).transpose(1, 2)
bases = lambda case, *shape: F.one_hot(case.below(4, *shape), 4).double()


def basset():
    # Of 400,000 maxima some lie so close together that f32 takes another one than f64 for some seeds (1 for one); not for this.
    case = Model("basset", 41, settings=["net.drop=0"])
    dna, opened = bases(case, 6, 600), case.below(2, 6, 164)
    motifs = []
    for number, (inputs, units, kernel, pool) in enumerate([(4, 300, 19, 3), (300, 200, 11, 4), (200, 200, 7, 4)], 1):
        path = f"net.motifs_{number}"
        motifs.append((case.conv1d(f"{path}.conv1d_1", kernel, inputs, units, padding="same"), case.batch_norm(f"{path}.batch_norm_1", units), pool))
    dense = [(case.dense(f"net.hidden_{n}.dense_1", inputs, 1000), case.batch_norm(f"net.hidden_{n}.batch_norm_1", 1000)) for n, inputs in ((1, 2400), (2, 1000))]
    last = case.dense("net.dense_1", 1000, 164)

    def net(x, training):
        for conv, norm, pool in motifs:
            x = pool1d(F.relu(norm(conv(x), training)), pool)
        x = x.reshape(len(x), -1)
        for layer, norm in dense:
            x = F.relu(norm(layer(x), training))
        return last(x)
    loss = F.binary_cross_entropy_with_logits(net(dna, True), opened.double())
    case.finish({"dna": dna, "opened": opened > 0}, loss, {"scores": net(dna, False)})


def danq():
    case = Model("danq", 2, settings=["net.drop=0", "net.drop_memory=0"], replace=[("letters(DNA)[1000]", "letters(DNA)[64]")])
    dna, marks = bases(case, 2, 64), case.below(2, 2, 919)
    conv = case.conv1d("net.conv1d_1", 26, 4, 320)
    there, back = case.lstm("net.bidirectional_1.forward", 320, 320), case.lstm("net.bidirectional_1.backward", 320, 320)
    one, two = case.dense("net.dense_1", 3 * 640, 925), case.dense("net.dense_2", 925, 919)
    h = pool1d(F.relu(conv(dna)), 13)
    h = torch.stack([torch.cat([there(x), back(x.flip(0)).flip(0)], 1) for x in h])
    scores = two(F.relu(one(h.reshape(2, -1))))
    case.finish({"dna": dna, "marks": marks > 0}, F.binary_cross_entropy_with_logits(scores, marks.double()), {"scores": scores})


def spliceai(name, seed, context, stages, replace):
    case = Model(name, seed, replace=replace)
    T = 24
    dna, site = bases(case, 2, T + context), case.below(3, 2, T)
    first = case.conv1d("net.conv1d_1", 1, 4, 32)
    skips = [case.conv1d(f"net.conv1d_{2 + n}", 1, 32, 32) for n in range(len(stages) + 1)]
    last, blocks, number = case.conv1d(f"net.conv1d_{3 + len(stages)}", 1, 32, 3), [], 0
    for dilation in stages:
        group = []
        for _ in range(4):
            number += 1
            path = f"net.dilated_residual1d_{number}"
            options = {"padding": 5 * dilation, "dilation": dilation}
            group.append((case.batch_norm(f"{path}.batch_norm_1", 32), conv1d(case, f"{path}.conv1d_1", 11, 32, 32, **options),
                          case.batch_norm(f"{path}.batch_norm_2", 32), case.conv1d(f"{path}.conv1d_2", 11, 32, 32, **options)))
        blocks.append(group)

    def net(training):
        h = first(dna)
        total = skips[0](h)
        for group, skip in zip(blocks, skips[1:]):
            for norm1, conv1, norm2, conv2 in group:
                h = h + conv2(F.relu(norm2(conv1(F.relu(norm1(h, training))), training)))
            total = total + skip(h)
        return last(total[:, context // 2:context // 2 + T])
    case.finish({"dna": dna, "site": site}, F.cross_entropy(net(True).reshape(-1, 3), site.reshape(-1)), {"scores": net(False)})


def deepdta():
    case = Model("deepdta", 5, settings=["net.drop=0"])
    sizes = {"molecule": (torch.tensor([14, 10, 23]), 32, 4), "protein": (torch.tensor([22, 41, 30]), 20, 8)}
    affinity, inputs, read = case.normal(3), {}, []
    for number, (name, (lengths, letters, kernel)) in enumerate(sizes.items(), 1):
        inputs[name], inputs[f"{name}.len"] = case.below(letters, int(lengths.sum())), lengths
        table, path = case.weight(f"net.embedding_{number}.w", letters, 128), f"net.reader_{number}"
        convs = [case.conv1d(f"{path}.conv1d_{n}", kernel, i, u) for n, (i, u) in enumerate([(128, 32), (32, 64), (64, 96)], 1)]
        each = []
        for text in inputs[name].split(lengths.tolist()):
            h = table[text][None]
            for conv in convs:
                h = F.relu(conv(h))
            each.append(h[0].max(0).values)
        read.append(torch.stack(each))
    dense = [case.dense(f"net.dense_{n}", i, u) for n, (i, u) in enumerate([(192, 1024), (1024, 1024), (1024, 512)], 1)]
    last, h = case.neuron("net.neuron_1", 512), torch.cat(read, 1)
    for layer in dense:
        h = F.relu(layer(h))
    guess = last(h)
    case.finish(inputs | {"affinity": affinity}, F.mse_loss(guess, affinity), {"affinity": guess})


def protein_lm():
    case = Model("protein_lm", 6)
    D, HEADS, E = 128, 4, 32
    lengths = torch.tensor([19, 9, 25])
    residues, mask = case.below(20, int(lengths.sum())), (case.below(5, int(lengths.sum())) == 0).long()
    hidden, table = case.weight("net.hidden", D), case.weight("net.embedding_1.w", 20, D)

    def rotate(x):
        """Pairs of channels as complex numbers, turned; x [T, H, E]."""
        angle = torch.outer(torch.arange(len(x)).double(), 10000.0 ** (-torch.arange(E // 2) / (E // 2)))
        turned = torch.view_as_complex(x.reshape(len(x), HEADS, E // 2, 2)) * torch.polar(torch.ones_like(angle), angle)[:, None]
        return torch.view_as_real(turned).reshape(x.shape)

    def block(path):
        norm1, norm2 = case.layer_norm(f"{path}.layer_norm_1", D), case.layer_norm(f"{path}.layer_norm_2", D)
        wq, wk, wv = (case.weight(f"{path}.self_attention_1.w{c}", D, HEADS, E, fan_in=D) for c in "qkv")
        bq, bv = (case.weight(f"{path}.self_attention_1.b{c}", HEADS, E) for c in "qv")
        wo, bo = case.weight(f"{path}.self_attention_1.wo", HEADS, E, D, fan_in=D), case.weight(f"{path}.self_attention_1.bo", D)
        up, down = case.dense(f"{path}.dense_1", D, 4 * D), case.dense(f"{path}.dense_2", 4 * D, D)

        def forward(x):
            y = norm1(x)
            q, k, v = (torch.einsum("td,dhe->the", y, w) + b for w, b in ((wq, bq), (wk, 0), (wv, bv)))
            o = F.scaled_dot_product_attention(rotate(q).transpose(0, 1), rotate(k).transpose(0, 1), v.transpose(0, 1))
            h = x + torch.einsum("hte,hed->td", o, wo) + bo
            return h + down(F.gelu(up(norm2(h))))
        return forward
    blocks = [block(f"net.transformer_block_{n}") for n in range(1, 5)]
    norm, last = case.layer_norm("net.layer_norm_1", D), case.dense("net.dense_1", D, 20)
    scores = []
    for letters, dark in zip(residues.split(lengths.tolist()), mask.split(lengths.tolist())):
        h = torch.where(dark[:, None] == 1, hidden, table[letters])
        for one in blocks:
            h = one(h)
        scores.append(last(norm(h)))
    scores = torch.cat(scores)
    loss = F.cross_entropy(scores[mask == 1], residues[mask == 1])
    case.finish({"residues": residues, "residues.len": lengths, "mask": mask, "mask.len": lengths}, loss, {"scores": scores.flatten()})


def labeller(name, seed, build):
    case = Model(name, seed)
    lengths = torch.tensor([17, 2, 11, 1])
    residues, state = case.below(20, int(lengths.sum())), case.below(3, int(lengths.sum()))
    table, net, (inputs,) = case.weight("net.embedding_1.w", 20, 32), *build(case)
    last = case.dense("net.dense_1", inputs, 3)
    scores = torch.cat([last(net(table[x])) for x in residues.split(lengths.tolist())])
    case.finish({"residues": residues, "residues.len": lengths, "state": state, "state.len": lengths}, F.cross_entropy(scores, state), {"scores": scores.flatten()})


def gru(case):
    one, two = case.gru("net.gru_1", 32, 64), case.gru("net.gru_2", 64, 64)
    return lambda x: two(one(x).flip(0)).flip(0), (64,)


def bilstm(case):
    there, back = case.lstm("net.bidirectional_1.forward", 32, 64), case.lstm("net.bidirectional_1.backward", 32, 64)
    return lambda x: torch.cat([there(x), back(x.flip(0)).flip(0)], 1), (128,)


basset()
danq()
spliceai("spliceai_80nt", 3, 80, [1], [("letters(DNA)[5080]", "letters(DNA)[104]"), ("category(3)[5000]", "category(3)[24]")])
spliceai("spliceai_400nt", 4, 400, [1, 4], [("letters(DNA)[5400]", "letters(DNA)[424]"), ("category(3)[5000]", "category(3)[24]")])
deepdta()
protein_lm()
labeller("gru_labeller", 7, gru)
labeller("bilstm_labeller", 8, bilstm)
