"""Raises the reward of a picture by gradient ascent with torch. Run: python example.py [prompt] [steps]"""

import sys

import torch

from laurel_reward import Reward

prompt = sys.argv[1] if len(sys.argv) > 1 else "a red circle above a blue square"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 20

reward = Reward()
port = reward.manifest["picture"]
rows = port["shape"][0] if isinstance(port["shape"][0], int) else 1
generator = torch.Generator().manual_seed(0)
shape = (rows, *port["shape"][1:])
# colours around grey; latents and normalised pixels around 0
start = torch.rand(shape, generator=generator) * 0.2 + 0.4 if port["name"] == "image" else torch.randn(shape, generator=generator) * 0.5
picture = start.requires_grad_()
optimizer = torch.optim.Adam([picture], lr=0.02)

for step in range(steps + 1):
    optimizer.zero_grad()
    scores = reward.torch(prompt, picture)
    if step % 5 == 0 or step == steps:
        print(f"step {step}: reward {scores.mean().item():.4f}")
    if step == steps:
        break
    (-scores.sum()).backward()
    optimizer.step()
    if port["range"] is not None:
        with torch.no_grad():
            picture.clamp_(*port["range"])
