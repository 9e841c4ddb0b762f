"""Shared by the demo world's training scripts: data from the TypeScript dumper, the oracle, clocks and checkpoints."""
import json, math, os, pathlib, subprocess, time
import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parents[3]
WORK = pathlib.Path(os.environ.get("LAUREL_TRAINING", ROOT / ".training"))
MODELS = ROOT / "models" / "demo"
HERE = "test/reference/demo"
torch.set_num_threads(int(os.environ.get("LAUREL_THREADS", "2")))


def dump(name, **options):
    """Runs dump.mjs once into WORK/name; returns the folder."""
    folder = WORK / name
    done = folder / "done.json"
    if not (done.exists() and json.loads(done.read_text()) == options):
        args = ["node", f"{HERE}/dump.mjs", "--out", str(folder)]
        for key, value in options.items():
            args += [f"--{key}"] if value is True else [f"--{key}", str(value)]
        subprocess.run(args, cwd=ROOT, check=True)
        done.write_text(json.dumps(options))
    return folder


def load_images(folder):
    return torch.from_numpy(np.fromfile(folder / "images.u8", np.uint8)).view(-1, 64, 64, 3)


def load_lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def to_unit(images):
    """uint8 NHWC -> float NCHW in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_bytes(x):
    """float NCHW in [-1, 1] -> uint8 NHWC."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def oracle(images, prompts=None):
    """Reads uint8 NHWC pictures with the TypeScript oracle; with canonical prompts, judges them."""
    path = WORK / f"oracle-{os.getpid()}.u8"
    path.write_bytes(images.numpy().tobytes())
    args = ["node", f"{HERE}/oracle.mjs", str(path)]
    if prompts is not None:
        text = WORK / f"oracle-{os.getpid()}.txt"
        text.write_text("\n".join(prompts) + "\n")
        args.append(str(text))
    output = subprocess.run(args, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def reading_matches(reading, scene):
    """Whether an oracle reading is the encoded scene, places within 3 pixels."""
    if reading["n"] != scene[0] or reading["bg"] != scene[1] or reading["problems"]:
        return False
    want = [scene[2 + 5 * i : 7 + 5 * i] for i in range(scene[0])]
    return all(
        any(r[0] == w[0] and r[1] == w[1] and r[2] == w[2] and abs(r[3] - w[3]) <= 3 and abs(r[4] - w[4]) <= 3 + (w[0] == 2) for r in reading["shapes"])
        for w in want
    )


class Clock:
    """Training time in seconds, continued over restarts; schedules follow the share of `budget` that is used."""

    def __init__(self, budget, spent=0.0):
        self.budget, self.before, self.start = budget, spent, time.time()

    @property
    def spent(self):
        return self.before + time.time() - self.start

    @property
    def share(self):
        return min(1.0, self.spent / self.budget)


def learning_rate(peak, step, share, warmup=100, hold=0.4, floor=0.01):
    """Linear warm-up, constant, then a cosine to `floor` of the peak over the last 1 - hold of the time."""
    rate = peak * min(1.0, (step + 1) / warmup)
    if share > hold:
        rate *= floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (share - hold) / (1 - hold)))
    return rate


def save(path, **state):
    torch.save(state, f"{path}.tmp")
    os.replace(f"{path}.tmp", path)


def restore(path):
    return torch.load(path, weights_only=False) if os.path.exists(path) else None


class Ema:
    def __init__(self, module, decay):
        self.decay, self.step = decay, 0
        self.shadow = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module):
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for k, v in module.state_dict().items():
            if v.dtype.is_floating_point:
                self.shadow[k].lerp_(v, 1 - decay)


def sheet(images, path, columns=8, scale=3):
    """A contact sheet of uint8 NHWC pictures."""
    from PIL import Image
    n, h, w, _ = images.shape
    rows = (n + columns - 1) // columns
    canvas = np.full((rows * (h + 2), columns * (w + 2), 3), 90, np.uint8)
    for i in range(n):
        r, c = divmod(i, columns)
        canvas[r * (h + 2) : r * (h + 2) + h, c * (w + 2) : c * (w + 2) + w] = images[i].numpy()
    picture = Image.fromarray(canvas)
    picture.resize((picture.width * scale, picture.height * scale), Image.NEAREST).save(path)


class Team:
    """Data parallelism over processes of one thread each: on a shared machine two single threads are steadier than one
    process of two, whose every operation waits for the slower core."""

    def __init__(self, rank, size, name):
        import torch.distributed as dist
        self.rank, self.size, self.dist = rank, size, dist
        torch.set_num_threads(1)
        if size > 1:
            dist.init_process_group("gloo", init_method=f"file://{WORK}/team-{name}", rank=rank, world_size=size)

    def reduce(self, parameters, extra=0.0):
        """Averages the gradients of `parameters` (absent ones count as zero) and `extra` over the team."""
        if self.size == 1:
            return extra
        grads = []
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            grads.append(p.grad)
        flat = torch.cat([g.reshape(-1) for g in grads] + [torch.tensor([extra])])
        self.dist.all_reduce(flat)
        flat /= self.size
        at = 0
        for g in grads:
            g.copy_(flat[at : at + g.numel()].view_as(g)); at += g.numel()
        return flat[-1].item()


def _enter(rank, worker, size, name, args):
    worker(Team(rank, size, name), args)


def launch(worker, name, args, size=int(os.environ.get("LAUREL_PROCESSES", "2"))):
    import torch.multiprocessing as mp
    WORK.mkdir(exist_ok=True)
    (WORK / f"team-{name}").unlink(missing_ok=True)
    if size == 1:
        worker(Team(0, 1, name), args)
    else:
        mp.spawn(_enter, (worker, size, name, args), nprocs=size)


def orthogonal(x):
    """Nearest orthogonal matrices of a stack (batch, rows, columns), roughly: four Newton-Schulz steps in bfloat16."""
    turn = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if turn else x
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16().contiguous()
    for _ in range(4):
        a = x @ x.transpose(1, 2)
        b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, b, x, beta=3.4445)
    return (x.transpose(1, 2) if turn else x).float()


class Muon:
    """Momentum with orthogonalised updates (Newton-Schulz) for matrices and convolution kernels, AdamW for the rest;
    on these small networks it needs about half the steps of AdamW alone. `lr` is AdamW's; matrices take `ratio` times it."""

    def __init__(self, named, lr, ratio=10.0, betas=(0.9, 0.99), weight_decay=1e-4, exclude=(), team=None):
        self.team = team
        named = [(n, p) for n, p in named if p.requires_grad]
        is_matrix = lambda n, p: p.ndim >= 2 and min(p.shape[0], p[0].numel()) >= 8 and "embedding" not in n and not any(e in n for e in exclude)
        self.matrices = [p for n, p in named if is_matrix(n, p)]
        self.adam = torch.optim.AdamW([p for n, p in named if not is_matrix(n, p)], lr=lr, betas=betas, weight_decay=0.0)
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        self.ratio, self.weight_decay = ratio, weight_decay

    @torch.no_grad()
    def step(self, lr):
        for group in self.adam.param_groups:
            group["lr"] = lr
        self.adam.step()
        size, rank = (self.team.size, self.team.rank) if self.team else (1, 0)
        updates = [torch.zeros_like(p) for p in self.matrices]
        shapes = {}
        for i, p in enumerate(self.matrices):
            if p.grad is None:
                continue
            self.momentum[i].lerp_(p.grad, 0.05)
            if i % size == rank:
                update = p.grad.lerp(self.momentum[i], 0.95).reshape(p.shape[0], -1)
                shapes.setdefault(update.shape, []).append((i, update))
        for (rows, columns), group in shapes.items():
            for (i, _), u in zip(group, orthogonal(torch.stack([u for _, u in group]))):
                updates[i].copy_(u.reshape(updates[i].shape))
        if size > 1:
            flat = torch.cat([u.reshape(-1) for u in updates])
            self.team.dist.all_reduce(flat)
            updates = [u.view_as(p) for u, p in zip(flat.split([p.numel() for p in self.matrices]), self.matrices)]
        for p, u in zip(self.matrices, updates):
            scale = lr * self.ratio * max(1.0, p.shape[0] / p[0].numel()) ** 0.5
            p.mul_(1 - lr * self.ratio * self.weight_decay).sub_(u, alpha=scale)

    def zero_grad(self):
        for p in self.matrices:
            p.grad = None
        self.adam.zero_grad()

    def state_dict(self):
        return {"adam": self.adam.state_dict(), "momentum": self.momentum}

    def load_state_dict(self, state):
        self.adam.load_state_dict(state["adam"])
        for m, s in zip(self.momentum, state["momentum"]):
            m.copy_(s)
