"""Golden values of torch's CPU generator: python test/reference/torch_random.py"""

import base64
import json
import pathlib

import torch

torch.set_num_threads(1)
OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "random" / "torch.json"
SIZES = [1, 5, 15, 16, 17, 31, 256, 1000, 16384]


def b64(t: torch.Tensor) -> str:
    return base64.b64encode(t.to(torch.float32).numpy().tobytes()).decode()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def main() -> None:
    single = []
    for seed in [0, 1, 42, 2**31, 2**32 - 2, 2**32 + 7]:
        for size in SIZES:
            # The longest draw is kept once; its exactness follows from the integer stream.
            if size == 16384 and seed != 42:
                continue
            single.append({"seed": seed, "size": size, "randn": b64(torch.randn(size, generator=seeded(seed)))})
    calls = []
    for seed, sizes in [(7, [1, 16, 3, 17, 2, 5, 256, 1]), (2**32 - 2, [15, 15, 31, 4])]:
        g = seeded(seed)
        calls.append({"seed": seed, "calls": [{"size": n, "randn": b64(torch.randn(n, generator=g))} for n in sizes]})
    g = seeded(3)
    mixed = {
        "seed": 3,
        "uniform": b64(torch.rand(20, generator=g)),
        "randint": [
            {"low": lo, "high": hi, "values": torch.randint(lo, hi, (12,), generator=g).tolist()}
            for lo, hi in [(0, 1000), (-5, 6), (30, 40), (0, 2**28 - 1), (0, 2**28), (0, 2**40)]
        ],
        "randperm": [torch.randperm(n, generator=g).tolist() for n in [1, 10, 100]],
        "after": b64(torch.randn(4, generator=g)),
    }
    fixture = {
        "command": "python test/reference/torch_random.py",
        "versions": {"torch": torch.__version__},
        "single": single,
        "calls": calls,
        "mixed": mixed,
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
    print(OUT, OUT.stat().st_size)


main()
