"""Golden trajectory of the optimizer: PyTorch's AdamW with clipping by global norm, in float64.

Run from the repository root:  python test/reference/training.py
Writes test/fixtures/training/adamw.json.
"""

import json
import os
import platform

import torch

torch.manual_seed(7)
SHAPES = {"layer.weight": (4, 3), "layer.bias": (4,)}
SETTINGS = {"learningRate": 0.02, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8, "weightDecay": 0.1, "clipNorm": 1.5, "averageDecay": 0.8}

start = {name: torch.randn(shape).double() for name, shape in SHAPES.items()}
gradients = [{name: (2.0 if step == 2 else 0.5) * torch.randn(shape).double() for name, shape in SHAPES.items()} for step in range(5)]
parameters = {name: value.clone().requires_grad_(True) for name, value in start.items()}
average = {name: value.clone() for name, value in start.items()}
groups = [
    {"params": [parameters["layer.weight"]], "weight_decay": SETTINGS["weightDecay"]},
    {"params": [parameters["layer.bias"]], "weight_decay": 0.0},
]
optimizer = torch.optim.AdamW(groups, lr=SETTINGS["learningRate"], betas=(SETTINGS["beta1"], SETTINGS["beta2"]), eps=SETTINGS["epsilon"])
steps = []
for gradient in gradients:
    for name, value in gradient.items():
        parameters[name].grad = value.clone()
    norm = torch.nn.utils.clip_grad_norm_(list(parameters.values()), SETTINGS["clipNorm"])
    optimizer.step()
    for name, value in parameters.items():
        average[name] = SETTINGS["averageDecay"] * average[name] + (1 - SETTINGS["averageDecay"]) * value.detach()
    steps.append(
        {
            "norm": norm.item(),
            "parameters": {name: value.detach().flatten().tolist() for name, value in parameters.items()},
            "averages": {name: value.flatten().tolist() for name, value in average.items()},
        }
    )

os.makedirs("test/fixtures/training", exist_ok=True)
with open("test/fixtures/training/adamw.json", "w") as file:
    json.dump(
        {
            "command": "python test/reference/training.py",
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "settings": SETTINGS,
            "shapes": SHAPES,
            "start": {name: value.flatten().tolist() for name, value in start.items()},
            "gradients": [{name: value.flatten().tolist() for name, value in gradient.items()} for gradient in gradients],
            "steps": steps,
        },
        file,
        indent=1,
    )
    file.write("\n")
