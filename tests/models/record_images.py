"""Networks over images, and an Evoformer block. How to run and what is written: rule.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from rule import Model


def resnet18():
    case = Model("resnet18", 31)
    image, label = case.normal(2, 64, 64, 3), case.below(1000, 2)

    def conv(path, kernel, inputs, units, **options):
        w = case.weight(f"{path}.w", kernel, kernel, inputs, units, fan_in=kernel * kernel * inputs)
        return lambda x: F.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), **options).permute(0, 2, 3, 1)

    def inner(path, inputs, units, stride, number):
        one, norm1 = conv(f"{path}.conv2d_{number}", 3, inputs, units, padding=1, stride=stride), case.batch_norm(f"{path}.batch_norm_{number}", units)
        two, norm2 = conv(f"{path}.conv2d_{number + 1}", 3, units, units, padding=1), case.batch_norm(f"{path}.batch_norm_{number + 1}", units)
        return lambda x, training: norm2(two(F.relu(norm1(one(x), training))), training)

    def residual(path, units):
        change = inner(path, units, units, 1, 1)
        return lambda x, training: F.relu(x + change(x, training))

    def projected(path, inputs, units):
        carry, norm = conv(f"{path}.conv2d_1", 1, inputs, units, stride=2), case.batch_norm(f"{path}.batch_norm_1", units)
        change = inner(path, inputs, units, 2, 2)
        return lambda x, training: F.relu(norm(carry(x), training) + change(x, training))

    stem, norm = conv("net.conv2d_1", 7, 3, 64, padding=3, stride=2), case.batch_norm("net.batch_norm_1", 64)
    blocks = [residual("net.residual2d_1", 64), residual("net.residual2d_2", 64)]
    for n, (inputs, units) in enumerate([(64, 128), (128, 256), (256, 512)], 1):
        blocks += [projected(f"net.projected2d_{n}", inputs, units), residual(f"net.residual2d_{n + 2}", units)]
    last = case.dense("net.dense_1", 512, 1000)

    def net(training):
        x = F.relu(norm(stem(image), training))
        x = F.max_pool2d(x.permute(0, 3, 1, 2), 3, 2, 1).permute(0, 2, 3, 1)
        for block in blocks:
            x = block(x, training)
        return last(x.mean((1, 2)))
    case.finish({"image": image, "class": label}, F.cross_entropy(net(True), label), {"scores": net(False)})


def unet():
    case = Model("unet", 32, replace=[("normal[32, 32, 1]", "normal[16, 16, 1]"), ("bernoulli(0.5)[32, 32]", "bernoulli(0.5)[16, 16]")])
    image, cell = case.normal(2, 16, 16, 1), case.below(2, 2, 16, 16)

    def twice(path, inputs, units):
        one, two = case.conv2d(f"{path}.conv2d_1", 3, inputs, units, padding=1), case.conv2d(f"{path}.conv2d_2", 3, units, units, padding=1)
        return lambda x: F.relu(two(F.relu(one(x))))

    def level(path, inputs, units):
        if units == 1024:
            return twice(path, inputs, units)
        before, deeper = twice(f"{path}.twice2d_1", inputs, units), level(f"{path}.inner", units, 2 * units)
        w, b = case.weight(f"{path}.up_conv2d_1.w", 2, 2, 2 * units, units, fan_in=2 * units), case.weight(f"{path}.up_conv2d_1.b", units)
        after = twice(f"{path}.twice2d_2", 2 * units, units)

        def forward(x):
            a = before(x)
            h = deeper(F.max_pool2d(a.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1))
            up = F.conv_transpose2d(h.permute(0, 3, 1, 2), w.permute(2, 3, 0, 1).contiguous(), b, stride=2).permute(0, 2, 3, 1)
            return after(torch.cat([a, up], -1))
        return forward
    net, last = level("net.unet2d_1", 1, 64), case.neuron("net.neuron_1", 64)
    score = last(net(image))
    case.finish({"image": image, "cell": cell > 0}, F.binary_cross_entropy_with_logits(score, cell.double()), {"score": score})


def evoformer():
    case = Model("evoformer", 33, replace=[("normal[4, 8, 256]", "normal[3, 6, 256]"), ("normal[8, 8, 128]", "normal[6, 6, 128]"), ("category(64)[8, 8]", "category(64)[6, 6]")])
    C, K, HEADS, PAIR_HEADS, HIDDEN, TRIANGLE, T = 256, 128, 8, 4, 32, 128, 6
    alignment, pairs = case.normal(2, 3, T, C), case.normal(2, T, T, K)
    target, distance, block = case.normal(2, 3, T, C), case.below(64, 2, T, T), "net.evoformer_block_1"

    def weights(path, width, heads, bias=None):
        found = {name: case.weight(f"{path}.{name}", width, heads, width // heads, fan_in=width) for name in ("wq", "wk", "wv", "gate")}
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
        w, b = case.weight(f"{path}.w", HIDDEN, HIDDEN, K, fan_in=HIDDEN * HIDDEN), case.weight(f"{path}.b", K)
        return lambda m: torch.einsum("bsic,bsjd,cdp->bijp", left(norm(m)), right(norm(m)), w) / m.shape[1] + b

    def triangle_multiplication(path, equation):
        norm, (ag, a, bg, b) = case.layer_norm(f"{path}.layer_norm_1", K), (case.dense(f"{path}.dense_{n}", K, TRIANGLE) for n in (1, 2, 3, 4))
        gate, inside, out = case.dense(f"{path}.dense_5", K, K), case.layer_norm(f"{path}.layer_norm_2", TRIANGLE), case.dense(f"{path}.dense_6", TRIANGLE, K)

        def forward(z):
            x = norm(z)
            y = torch.einsum(equation, ag(x).sigmoid() * a(x), bg(x).sigmoid() * b(x))
            return gate(x).sigmoid() * out(inside(y))
        return forward

    def triangle_attention(path, starting):
        norm, p = case.layer_norm(f"{path}.layer_norm_1", K), weights(path, K, PAIR_HEADS, K)

        def forward(z):
            x = norm(z) if starting else norm(z).transpose(1, 2)
            y = attend(x, p, torch.einsum("bjkc,ch->bhjk", x, p["b"])[:, None])
            return y if starting else y.transpose(1, 2)
        return forward

    rows, columns, after = row_attention(f"{block}.row_attention_1"), column_attention(f"{block}.column_attention_1"), transition(f"{block}.transition_1", C)
    parts = [triangle_multiplication(f"{block}.triangle_multiplication_1", "bikc,bjkc->bijc"), triangle_multiplication(f"{block}.triangle_multiplication_2", "bkic,bkjc->bijc"),
             triangle_attention(f"{block}.triangle_attention_1", True), triangle_attention(f"{block}.triangle_attention_2", False), transition(f"{block}.transition_2", K)]
    outer, bins = outer_product_mean(f"{block}.outer_product_mean_1"), case.dense("net.distogram_1.dense_1", K, 64)
    m, z = alignment, pairs
    m = m + rows(m, z)
    m = m + columns(m)
    m = m + after(m)
    z = z + outer(m)
    for part in parts:
        z = z + part(z)
    l = bins(z) + bins(z.transpose(1, 2))
    loss = F.mse_loss(m, target) + F.cross_entropy(l.reshape(-1, 64), distance.reshape(-1))
    case.finish({"alignment": alignment, "pairs": pairs, "target": target, "distance": distance}, loss, {"bins": l})


resnet18()
unet()
evoformer()
