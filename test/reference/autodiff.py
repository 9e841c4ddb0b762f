"""Golden gradients for every gradient rule, by PyTorch in float64.

Run from the repository root:  python test/reference/autodiff.py
Writes test/fixtures/autodiff/rules.json. Each case holds its inputs and the upstream gradient (drawn in float32, so both sides read the same
numbers), the float64 output and the float64 gradients of sum(upstream * output). "batched" names the inputs whose first dimension is the batch.
"""

import base64
import json
import math
import platform

import numpy as np
import torch
import torch.nn.functional as F

RANDOM = np.random.default_rng(20240601)
CASES = []


def normal(*shape):
    """Standard normal values."""
    return RANDOM.standard_normal(shape)


def away(*shape, gap=0.15):
    """Normal values kept at least `gap` away from zero, the kink of abs, relu and the like."""
    x = RANDOM.standard_normal(shape)
    return x + np.where(x < 0, -gap, gap)


def positive(*shape):
    """Values in [0.5, 2]."""
    return RANDOM.uniform(0.5, 2.0, shape)


def apart(*shape, gap=0.1):
    """Values of which no two are closer than `gap`: for maxima."""
    count = int(np.prod(shape))
    return (RANDOM.permutation(count) * gap - count * gap / 2).reshape(shape)


def integers(high, *shape):
    return RANDOM.integers(0, high, shape)


def encode(array):
    data = np.ascontiguousarray(array, dtype="<f4")
    return {"shape": list(array.shape), "float32": base64.b64encode(data.tobytes()).decode()}


def case(name, op, inputs, function, wrt=None, batched=()):
    """`function` maps torch tensors to one tensor or a tuple (several outputs; None marks one that is not used)."""
    feeds, tensors, record = {}, {}, {}
    for key, value in inputs.items():
        if value.dtype.kind in "iu":
            record[key] = {"shape": list(value.shape), "int64": value.reshape(-1).tolist()}
            tensors[key] = torch.tensor(value, dtype=torch.int64)
        else:
            value = value.astype(np.float32)
            record[key] = encode(value)
            tensors[key] = torch.tensor(value.astype(np.float64), requires_grad=True)
    wrt = list(wrt or [key for key, value in inputs.items() if value.dtype.kind == "f"])
    outputs = function(**tensors)
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    loss, recorded = 0.0, []
    for output in outputs:
        if output is None:
            recorded.append(None)
            continue
        upstream = RANDOM.standard_normal(tuple(output.shape)).astype(np.float32)
        loss = loss + (output * torch.tensor(upstream.astype(np.float64))).sum()
        recorded.append({"value": encode(output.detach().numpy()), "upstream": encode(upstream)})
    gradients = torch.autograd.grad(loss, [tensors[key] for key in wrt])
    CASES.append(
        {
            "name": name,
            "op": op,
            "batched": list(batched),
            "inputs": record,
            "outputs": recorded,
            "gradients": {key: encode(value.numpy()) for key, value in zip(wrt, gradients)},
        }
    )


# ---- elementwise -------------------------------------------------------------------------------------------------------------
for name, op, f in [
    ("add", "Add", lambda a, b: a + b),
    ("sub", "Sub", lambda a, b: a - b),
    ("mul", "Mul", lambda a, b: a * b),
]:
    case(f"{name} of equal shapes", op, {"a": normal(2, 3, 4), "b": normal(2, 3, 4)}, f, batched=["a", "b"])
    case(f"{name} broadcasts [2,3,4] with [3,1]", op, {"a": normal(2, 3, 4), "b": normal(3, 1)}, f, batched=["a"])
    case(f"{name} broadcasts [1,4] with [2,3,1]", op, {"a": normal(1, 4), "b": normal(2, 3, 1)}, f, batched=["b"])
case("div broadcasts", "Div", {"a": normal(2, 3, 4), "b": away(4, gap=0.5)}, lambda a, b: a / b, batched=["a"])
case("pow with a tensor exponent", "Pow", {"a": positive(2, 3), "b": normal(2, 3)}, lambda a, b: a**b, batched=["a", "b"])
case("pow with exponent 2", "Pow", {"a": normal(2, 3)}, lambda a: a**2, batched=["a"])
case("pow with exponent 3", "Pow", {"a": normal(2, 3)}, lambda a: a**3, batched=["a"])
case("pow with exponent -0.5", "Pow", {"a": positive(2, 3)}, lambda a: a**-0.5, batched=["a"])
pair = apart(2, 2, 3, 4)
case("max broadcasts", "Max", {"a": pair[0], "b": pair[1, 0, :, :1]}, lambda a, b: torch.maximum(a, b), batched=["a"])
case("min broadcasts", "Min", {"a": pair[0], "b": pair[1, 0, :, :1]}, lambda a, b: torch.minimum(a, b), batched=["a"])
tie = np.array([[1.0, 2.0, 3.0]])
case("max shares a tie", "Max", {"a": tie, "b": np.array([[1.0, 5.0, 0.0]])}, lambda a, b: torch.maximum(a, b))
case("min shares a tie", "Min", {"a": tie, "b": np.array([[1.0, 5.0, 0.0]])}, lambda a, b: torch.minimum(a, b))

case("neg", "Neg", {"x": normal(2, 5)}, lambda x: -x, batched=["x"])
case("abs", "Abs", {"x": away(2, 5)}, lambda x: x.abs(), batched=["x"])
case("sqrt", "Sqrt", {"x": positive(2, 5)}, lambda x: x.sqrt(), batched=["x"])
case("reciprocal", "Reciprocal", {"x": away(2, 5, gap=0.4)}, lambda x: 1 / x, batched=["x"])
case("exp", "Exp", {"x": normal(2, 5)}, lambda x: x.exp(), batched=["x"])
case("log", "Log", {"x": positive(2, 5)}, lambda x: x.log(), batched=["x"])
case("erf", "Erf", {"x": normal(2, 5)}, lambda x: x.erf(), batched=["x"])
case("sin", "Sin", {"x": normal(2, 5)}, lambda x: x.sin(), batched=["x"])
case("cos", "Cos", {"x": normal(2, 5)}, lambda x: x.cos(), batched=["x"])
case("tanh", "Tanh", {"x": normal(2, 5)}, lambda x: x.tanh(), batched=["x"])
case("sigmoid", "Sigmoid", {"x": 3 * normal(2, 5)}, lambda x: x.sigmoid(), batched=["x"])
case("relu", "Relu", {"x": away(2, 5)}, lambda x: x.relu(), batched=["x"])
case("softplus", "Softplus", {"x": 3 * normal(2, 5)}, lambda x: F.softplus(x, threshold=1e9), batched=["x"])
case("gelu", "Gelu", {"x": 2 * normal(2, 9)}, lambda x: F.gelu(x), batched=["x"])
case("gelu approximated by tanh", "Gelu", {"x": 2 * normal(2, 9)}, lambda x: F.gelu(x, approximate="tanh"), batched=["x"])
case("silu", "Sigmoid", {"x": 2 * normal(2, 9)}, lambda x: F.silu(x), batched=["x"])
case("quick gelu", "Sigmoid", {"x": 2 * normal(2, 9)}, lambda x: x * torch.sigmoid(1.702 * x), batched=["x"])
case("where", "Where", {"x": normal(2, 3, 4), "y": normal(3, 4), "c": away(2, 3, 4)}, lambda x, y, c: torch.where(c > 0, x, y), wrt=["x", "y"], batched=["x", "c"])
case("clip", "Clip", {"x": np.array([[-2.0, -0.6, 0.1], [0.2, 0.9, 3.0]])}, lambda x: x.clamp(-0.5, 0.7), batched=["x"])
case("identity", "Identity", {"x": normal(2, 3)}, lambda x: x * 1.0, batched=["x"])
case("cast to float64 and back", "Cast", {"x": normal(2, 3)}, lambda x: x * x, batched=["x"])
case("sign stops", "Sign", {"x": away(2, 3)}, lambda x: torch.sign(x) * x, batched=["x"])
case("fan-out accumulates", "Add", {"x": normal(2, 3)}, lambda x: x * x.exp() + x.sin() * x, batched=["x"])

# ---- matrix ------------------------------------------------------------------------------------------------------------------
case("matmul 2-D", "MatMul", {"a": normal(2, 3), "b": normal(3, 5)}, lambda a, b: a @ b, batched=["a"])
case("matmul batched", "MatMul", {"a": normal(2, 4, 3), "b": normal(2, 3, 5)}, lambda a, b: a @ b, batched=["a", "b"])
case("matmul 3-D with 2-D", "MatMul", {"a": normal(2, 4, 3), "b": normal(3, 5)}, lambda a, b: a @ b, batched=["a"])
case("matmul 2-D with 3-D", "MatMul", {"a": normal(4, 3), "b": normal(2, 3, 5)}, lambda a, b: a @ b, batched=["b"])
case("matmul broadcasts batches", "MatMul", {"a": normal(2, 1, 4, 3), "b": normal(6, 3, 5)}, lambda a, b: a @ b, batched=["a"])
for ta in (False, True):
    for tb in (False, True):
        a, b = normal(2, 3, 4, 5), normal(2, 3, 5, 6)
        if ta:
            a = np.swapaxes(a, -1, -2)
        if tb:
            b = np.swapaxes(b, -1, -2)
        case(
            f"fused matmul transA={int(ta)} transB={int(tb)}",
            "FusedMatMul",
            {"a": a, "b": b},
            lambda a, b, ta=ta, tb=tb: 0.7 * ((a.mT if ta else a) @ (b.mT if tb else b)),
            batched=["a", "b"],
        )
        a, b = normal(4, 5), normal(5, 6)
        if ta:
            a = a.T
        if tb:
            b = b.T
        case(
            f"gemm transA={int(ta)} transB={int(tb)}",
            "Gemm",
            {"a": a, "b": b, "c": normal(6)},
            lambda a, b, c, ta=ta, tb=tb: 0.7 * ((a.T if ta else a) @ (b.T if tb else b)) + 1.3 * c,
            batched=[] if ta else ["a"],
        )
case("gemm without c", "Gemm", {"a": normal(4, 5), "b": normal(6, 5)}, lambda a, b: a @ b.T, batched=["a"])
case("gemm with a full c", "Gemm", {"a": normal(4, 5), "b": normal(6, 5), "c": normal(4, 6)}, lambda a, b, c: a @ b.T + c, batched=["a", "c"])

# ---- convolution -------------------------------------------------------------------------------------------------------------


def conv_case(name, x, w, b, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), group=1):
    def f(x, w, b=None):
        padded = F.pad(x, (pads[1], pads[3], pads[0], pads[2]))
        return F.conv2d(padded, w, b, stride=strides, dilation=dilations, groups=group)

    case(f"conv {name}", "Conv", {"x": x, "w": w, **({"b": b} if b is not None else {})}, f, batched=["x"])


conv_case("3x3 padded", normal(2, 3, 5, 6), normal(4, 3, 3, 3), normal(4), pads=(1, 1, 1, 1))
conv_case("3x3 unpadded without bias", normal(2, 3, 5, 6), normal(4, 3, 3, 3), None)
conv_case("1x1", normal(3, 4, 3, 5), normal(5, 4, 1, 1), normal(5))
conv_case("1x1 stride 2", normal(2, 4, 5, 4), normal(5, 4, 1, 1), normal(5), strides=(2, 2))
conv_case("3x3 stride 2", normal(2, 3, 6, 8), normal(4, 3, 3, 3), normal(4), strides=(2, 2), pads=(1, 1, 1, 1))
conv_case("3x3 stride 2, odd size", normal(2, 3, 7, 5), normal(4, 3, 3, 3), normal(4), strides=(2, 2), pads=(1, 1, 1, 1))
conv_case("3x3 stride 2, padded at the end", normal(2, 3, 6, 6), normal(4, 3, 3, 3), normal(4), strides=(2, 2), pads=(0, 0, 1, 1))
conv_case("patches 4x4 stride 4", normal(2, 3, 8, 12), normal(5, 3, 4, 4), normal(5), strides=(4, 4))
conv_case("3x3 dilated", normal(2, 3, 7, 7), normal(4, 3, 3, 3), normal(4), pads=(2, 2, 2, 2), dilations=(2, 2))
conv_case("3x2 with uneven pads", normal(2, 3, 5, 6), normal(4, 3, 3, 2), normal(4), pads=(2, 0, 1, 1))
conv_case("1x1 padded beyond the kernel", normal(2, 3, 4, 4), normal(4, 3, 1, 1), normal(4), pads=(1, 1, 1, 1))
conv_case("3x3 in two groups", normal(2, 4, 5, 5), normal(6, 2, 3, 3), normal(6), pads=(1, 1, 1, 1), group=2)
conv_case("3x3 depthwise stride 2", normal(2, 4, 6, 6), normal(4, 1, 3, 3), normal(4), strides=(2, 2), pads=(1, 1, 1, 1), group=4)
conv_case("3x3 stride 3 with unread pixels", normal(2, 2, 8, 8), normal(3, 2, 3, 3), None, strides=(3, 3))


def conv_transpose_case(name, x, w, b, strides=(1, 1), pad=0, output_padding=(0, 0), group=1):
    def f(x, w, b=None):
        return F.conv_transpose2d(x, w, b, stride=strides, padding=pad, output_padding=output_padding, groups=group)

    case(f"conv transpose {name}", "ConvTranspose", {"x": x, "w": w, **({"b": b} if b is not None else {})}, f, batched=["x"])


conv_transpose_case("2x2 stride 2", normal(2, 3, 3, 4), normal(3, 4, 2, 2), normal(4), strides=(2, 2))
conv_transpose_case("3x3 stride 2, output padded", normal(2, 3, 3, 4), normal(3, 4, 3, 3), normal(4), strides=(2, 2), pad=1, output_padding=(1, 1))
conv_transpose_case("3x3 stride 1 without bias", normal(2, 3, 4, 4), normal(3, 2, 3, 3), None, pad=1)
conv_transpose_case("3x3 in two groups", normal(2, 4, 3, 3), normal(4, 3, 3, 3), normal(6), strides=(2, 2), pad=1, group=2)
case("resize nearest by 2", "Resize", {"x": normal(2, 3, 3, 4)}, lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), batched=["x"])
case("resize nearest by 3", "Resize", {"x": normal(2, 2, 2, 3)}, lambda x: F.interpolate(x, scale_factor=3, mode="nearest"), batched=["x"])

# ---- reductions and normalisation --------------------------------------------------------------------------------------------
case("reduce sum keeps dims", "ReduceSum", {"x": normal(2, 3, 4)}, lambda x: x.sum((1,), keepdim=True), batched=["x"])
case("reduce sum over the batch", "ReduceSum", {"x": normal(2, 3, 4)}, lambda x: x.sum((0, 2)), batched=["x"])
case("reduce sum of everything", "ReduceSum", {"x": normal(2, 3, 4)}, lambda x: x.sum(), batched=["x"])
case("reduce mean keeps dims", "ReduceMean", {"x": normal(2, 3, 4)}, lambda x: x.mean((2,), keepdim=True), batched=["x"])
case("reduce mean over two axes", "ReduceMean", {"x": normal(2, 3, 4)}, lambda x: x.mean((1, 2)), batched=["x"])
case("reduce mean over the batch", "ReduceMean", {"x": normal(2, 3, 4)}, lambda x: x.mean((0, 1)), batched=["x"])
case("reduce mean of everything", "ReduceMean", {"x": normal(2, 3, 4)}, lambda x: x.mean(), batched=["x"])
case("reduce max", "ReduceMax", {"x": apart(2, 3, 4)}, lambda x: x.amax((1,)), batched=["x"])
case("reduce max shares ties", "ReduceMax", {"x": np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]])}, lambda x: x.amax((1,), keepdim=True), batched=["x"])
case("softmax", "Softmax", {"x": 2 * normal(2, 3, 5)}, lambda x: x.softmax(-1), batched=["x"])
case("softmax over axis 1", "Softmax", {"x": 2 * normal(2, 3, 5)}, lambda x: x.softmax(1), batched=["x"])
case("log softmax", "LogSoftmax", {"x": 2 * normal(2, 3, 5)}, lambda x: x.log_softmax(-1), batched=["x"])
case("layer norm", "LayerNormalization", {"x": 1 + 2 * normal(2, 3, 7), "scale": normal(7), "bias": normal(7)}, lambda x, scale, bias: F.layer_norm(x, (7,), scale, bias, 1e-5), batched=["x"])
case("layer norm without bias", "LayerNormalization", {"x": normal(2, 3, 7), "scale": normal(7)}, lambda x, scale: F.layer_norm(x, (7,), scale, None, 1e-5), batched=["x"])
case("layer norm with unit scale", "LayerNormalization", {"x": normal(2, 3, 7)}, lambda x: F.layer_norm(x, (7,), None, None, 1e-5), batched=["x"])
case("layer norm over two axes", "LayerNormalization", {"x": normal(2, 3, 7), "scale": normal(3, 7), "bias": normal(3, 7)}, lambda x, scale, bias: F.layer_norm(x, (3, 7), scale, bias, 1e-6), batched=["x"])
case("layer norm of tiny values", "LayerNormalization", {"x": 0.01 * normal(2, 3, 7), "scale": normal(7), "bias": normal(7)}, lambda x, scale, bias: F.layer_norm(x, (7,), scale, bias, 1e-3), batched=["x"])
case("layer norm far from zero", "LayerNormalization", {"x": 20 + normal(2, 3, 7), "scale": normal(7), "bias": normal(7)}, lambda x, scale, bias: F.layer_norm(x, (7,), scale, bias, 1e-5), batched=["x"])
case("group norm by layer norm", "LayerNormalization", {"x": 0.5 + normal(2, 6, 3, 4), "scale": normal(6), "bias": normal(6)}, lambda x, scale, bias: F.group_norm(x, 3, scale, bias, 1e-6), batched=["x"])

# ---- shapes ------------------------------------------------------------------------------------------------------------------
case("reshape merges the batch", "Reshape", {"x": normal(2, 3, 4)}, lambda x: x.reshape(6, 4), batched=["x"])
case("reshape splits a dimension", "Reshape", {"x": normal(2, 12)}, lambda x: x.reshape(2, 3, 4), batched=["x"])
case("flatten", "Reshape", {"x": normal(2, 3, 4)}, lambda x: x.reshape(2, 12), batched=["x"])
case("transpose", "Transpose", {"x": normal(2, 3, 4, 5)}, lambda x: x.permute(0, 2, 3, 1), batched=["x"])
case("transpose of the batch", "Transpose", {"x": normal(2, 3, 4)}, lambda x: x.permute(2, 0, 1), batched=["x"])
case("concat", "Concat", {"a": normal(2, 3, 2), "b": normal(2, 1, 2), "c": normal(2, 2, 2)}, lambda a, b, c: torch.cat([a, b, c], 1), batched=["a", "b", "c"])
case("concat of batches", "Concat", {"a": normal(2, 3), "b": normal(2, 3)}, lambda a, b: torch.cat([a, b], 0), batched=["a", "b"])
case("concat towards one target", "Concat", {"a": normal(2, 3), "b": normal(2, 2)}, lambda a, b: torch.cat([a, b], 1), wrt=["b"], batched=["a", "b"])
case("split", "Split", {"x": normal(2, 6)}, lambda x: tuple(x.split([1, 3, 2], 1)), batched=["x"])
case("split with an unused part", "Split", {"x": normal(2, 6)}, lambda x: (x[:, :1], None, x[:, 4:]), batched=["x"])
case("slice", "Slice", {"x": normal(2, 6, 3)}, lambda x: x[:, 1:4], batched=["x"])
case("slice to the end", "Slice", {"x": normal(2, 6, 3)}, lambda x: x[:, :, 1:], batched=["x"])
case("expand", "Expand", {"x": normal(3, 1)}, lambda x: x.expand(2, 3, 4))
case("expand along the batch", "Expand", {"x": normal(1, 3), "like": normal(4, 3)}, lambda x, like: x.expand(4, 3), wrt=["x"], batched=["like"])
case("unsqueeze", "Unsqueeze", {"x": normal(2, 3)}, lambda x: x[:, None, :, None], batched=["x"])
case("squeeze", "Squeeze", {"x": normal(2, 1, 3, 1)}, lambda x: x.reshape(2, 3), batched=["x"])
case("gather rows of a table", "Gather", {"x": normal(7, 3), "i": np.array([[1, 1, 6], [0, 1, 5]])}, lambda x, i: x[i], wrt=["x"], batched=["i"])
case("gather one position", "Gather", {"x": normal(2, 4, 3)}, lambda x: x[:, 2], batched=["x"])
case("gather some positions, one twice", "Gather", {"x": normal(2, 4, 3)}, lambda x: x[:, torch.tensor([3, 0, 3])], batched=["x"])
case("gather by an input along axis 1", "Gather", {"x": normal(2, 4, 3), "i": np.array([3, 0, 3])}, lambda x, i: x[:, i], wrt=["x"], batched=["x"])
case("pad", "Pad", {"x": normal(2, 3, 4)}, lambda x: F.pad(x, (2, 0, 1, 3)), batched=["x"])
case("tile", "Tile", {"x": normal(2, 3)}, lambda x: x.repeat(1, 4), batched=["x"])
case("scatter of updates", "ScatterND", {"x": normal(5, 3), "u": normal(4, 3), "i": np.array([[0], [3], [3], [1]])}, lambda x, u, i: x.index_add(0, i[:, 0], u), wrt=["x", "u"])
case("scatter of elements", "ScatterElements", {"x": normal(5, 3), "u": normal(2, 3), "i": np.array([[0, 1, 4], [0, 3, 2]])}, lambda x, u, i: x.scatter_add(0, i, u), wrt=["x", "u"])
case("gather of elements", "GatherElements", {"x": normal(3, 5), "i": np.array([[0, 0], [4, 1], [2, 3]])}, lambda x, i: x.gather(1, i), wrt=["x"], batched=["x", "i"])
case("cumulative sum", "CumSum", {"x": normal(2, 5)}, lambda x: x.cumsum(1), batched=["x"])

# ---- attention ---------------------------------------------------------------------------------------------------------------


def attention(q, k, v, mask=None, heads=2):
    split = lambda t: t.reshape(t.shape[0], t.shape[1], heads, -1).transpose(1, 2)
    scores = split(q) @ split(k).mT / math.sqrt(q.shape[-1] / heads)
    if mask is not None:
        scores = scores + mask
    return (scores.softmax(-1) @ split(v)).transpose(1, 2).reshape(q.shape)


case("multi-head attention", "MultiHeadAttention", {"q": normal(2, 3, 8), "k": normal(2, 5, 8), "v": normal(2, 5, 8)}, attention, batched=["q", "k", "v"])
case("multi-head attention with a mask", "MultiHeadAttention", {"q": normal(2, 3, 8), "k": normal(2, 5, 8), "v": normal(2, 5, 8), "mask": np.where(normal(2, 1, 3, 5) > 0.8, -1e4, 0.0)}, attention, wrt=["q", "k", "v"], batched=["q", "k", "v", "mask"])

# ---- composite: every formulation of a small network together ----------------------------------------------------------------


def block(x, scale, bias, w1, b1, w2, w3, token):
    h = F.silu(F.group_norm(x, 2, scale, bias, 1e-5))
    h = F.conv2d(h, w1, b1, padding=1)
    rows = h.flatten(2).mT
    q, k, v = (rows @ w2).chunk(3, -1)
    rows = rows + (q @ k.mT / 2.0).softmax(-1) @ v
    rows = rows + F.gelu(rows @ w3.T) @ w3
    h = rows.mT.reshape(h.shape) + token[:, :, None, None]
    return F.interpolate(F.conv2d(h, w1, b1, stride=2, padding=1), scale_factor=2.0, mode="nearest") + x


case(
    "a residual block with attention",
    "Conv",
    {"x": normal(2, 4, 4, 4), "scale": normal(4), "bias": normal(4), "w1": 0.3 * normal(4, 4, 3, 3), "b1": normal(4), "w2": 0.5 * normal(4, 12), "w3": 0.5 * normal(9, 4), "token": normal(2, 4)},
    block,
    batched=["x", "token"],
)

if __name__ == "__main__":
    path = "test/fixtures/autodiff/rules.json"
    with open(path, "w") as file:
        json.dump(
            {
                "command": "python test/reference/autodiff.py",
                "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
                "cases": CASES,
            },
            file,
            indent=None,
            separators=(",", ":"),
        )
        file.write("\n")
    print(f"{path}: {len(CASES)} cases")
