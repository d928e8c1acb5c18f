"""An Evoformer block by einsum, for cases and models of any size."""
import torch
import torch.nn.functional as F


def block(case, path, channels, pairs, heads, pair_heads, hidden, triangle, outer_fan_in):
    """Weights made in a fixed order, and the function (alignment [B, S, T, channels], pairs [B, T, T, pairs]) -> the same two."""

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
        m_norm, z_norm, p = case.layer_norm(f"{path}.layer_norm_1", channels), case.layer_norm(f"{path}.layer_norm_2", pairs), weights(path, channels, heads, pairs)
        return lambda m, z: attend(m_norm(m), p, torch.einsum("bijk,kh->bhij", z_norm(z), p["b"])[:, None])

    def column_attention(path):
        norm, p = case.layer_norm(f"{path}.layer_norm_1", channels), weights(path, channels, heads)
        return lambda m: attend(norm(m).transpose(1, 2), p).transpose(1, 2)

    def transition(path, width):
        norm, up, down = case.layer_norm(f"{path}.layer_norm_1", width), case.dense(f"{path}.dense_1", width, 4 * width), case.dense(f"{path}.dense_2", 4 * width, width)
        return lambda x: down(F.relu(up(norm(x))))

    def outer_product_mean(path):
        norm, left, right = case.layer_norm(f"{path}.layer_norm_1", channels), case.dense(f"{path}.dense_1", channels, hidden), case.dense(f"{path}.dense_2", channels, hidden)
        w, b = case.weight(f"{path}.w", hidden, hidden, pairs, fan_in=outer_fan_in), case.weight(f"{path}.b", pairs)
        return lambda m: torch.einsum("bsic,bsjd,cdp->bijp", left(norm(m)), right(norm(m)), w) / m.shape[1] + b

    def triangle_multiplication(path, equation):
        norm, (ag, a, bg, b) = case.layer_norm(f"{path}.layer_norm_1", pairs), (case.dense(f"{path}.dense_{n}", pairs, triangle) for n in (1, 2, 3, 4))
        gate, inner, out = case.dense(f"{path}.dense_5", pairs, pairs), case.layer_norm(f"{path}.layer_norm_2", triangle), case.dense(f"{path}.dense_6", triangle, pairs)

        def forward(z):
            x = norm(z)
            y = torch.einsum(equation, ag(x).sigmoid() * a(x), bg(x).sigmoid() * b(x))
            return gate(x).sigmoid() * out(inner(y))
        return forward

    def triangle_attention(path, starting):
        norm, p = case.layer_norm(f"{path}.layer_norm_1", pairs), weights(path, pairs, pair_heads, pairs)

        def forward(z):
            x = norm(z) if starting else norm(z).transpose(1, 2)
            y = attend(x, p, torch.einsum("bjkc,ch->bhjk", x, p["b"])[:, None])
            return y if starting else y.transpose(1, 2)
        return forward

    rows, columns, after = row_attention(f"{path}.row_attention_1"), column_attention(f"{path}.column_attention_1"), transition(f"{path}.transition_1", channels)
    parts = [triangle_multiplication(f"{path}.triangle_multiplication_1", "bikc,bjkc->bijc"), triangle_multiplication(f"{path}.triangle_multiplication_2", "bkic,bkjc->bijc"),
             triangle_attention(f"{path}.triangle_attention_1", True), triangle_attention(f"{path}.triangle_attention_2", False), transition(f"{path}.transition_2", pairs)]
    outer = outer_product_mean(f"{path}.outer_product_mean_1")

    def forward(m, z):
        m = m + rows(m, z)
        m = m + columns(m)
        m = m + after(m)
        z = z + outer(m)
        for part in parts:
            z = z + part(z)
        return m, z
    return forward
