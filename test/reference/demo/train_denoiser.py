"""Trains the demo denoiser (UNet2DConditionModel, v-prediction) on cached latents and the frozen text encoder.

    python test/reference/demo/train_denoiser.py [--minutes 45]

Resumable: state in .training/denoiser.pt. Every few minutes the moving average draws 128 fixed training-split prompts,
the oracle judges them, and the pictures go to .training/denoiser-<step>.png.
"""
import argparse, math, time
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer
from common import *

CONFIG = dict(
    sample_size=8, in_channels=8, out_channels=8, down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
    block_out_channels=(96, 160), layers_per_block=1, cross_attention_dim=128, attention_head_dim=4, norm_num_groups=16, use_linear_projection=True,
)  # fmt: skip
SCHEDULE = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.02, beta_schedule="scaled_linear", prediction_type="v_prediction")


def alpha_bar():
    betas = torch.linspace(SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).float()


def load_parts():
    vae = AutoencoderKL.from_pretrained(WORK / "vae").eval()
    text = CLIPTextModel.from_pretrained(WORK / "text_encoder", torch_dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(MODELS / "stable-diffusion" / "tokenizer")
    return vae, text, tokenizer


def tokenise(tokenizer, texts):
    known = {}
    for t in texts:
        if t not in known:
            known[t] = None
    keys = list(known)
    # Canonical words are whole tokens: a table is far faster than the tokeniser, which is used for whatever is left.
    vocab = tokenizer.get_vocab()
    rows = torch.full((len(keys), 32), tokenizer.eos_token_id, dtype=torch.int16)
    for i, t in enumerate(keys):
        words = [vocab.get(w + "</w>") for w in t.split()]
        ids = [tokenizer.bos_token_id, *words] if None not in words else tokenizer(t).input_ids[:-1]
        rows[i, : len(ids)] = torch.tensor(ids[:31], dtype=torch.int16)
        known[t] = i
    return rows, torch.tensor([known[t] for t in texts])


@torch.no_grad()
def sample(unet, vae, text, tokenizer, prompts, seeds, steps=15, guidance=2.5, batch=128, bf16=True):
    """DPM-Solver++ 2M with guidance; uint8 NHWC."""
    out = []
    for at in range(0, len(prompts), batch):
        part = prompts[at : at + batch]
        rows, index = tokenise(tokenizer, [*part, ""])
        states = text(rows.long()).last_hidden_state[index]
        states = torch.cat([states[-1:].expand(len(part), -1, -1), states[:-1]])
        scheduler = DPMSolverMultistepScheduler(**SCHEDULE, solver_order=2, algorithm_type="dpmsolver++", timestep_spacing="linspace")
        scheduler.set_timesteps(steps)
        x = torch.stack([torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(s))[0] for s in seeds[at : at + batch]])
        for t in scheduler.timesteps:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                v = unet(torch.cat([x, x]).contiguous(memory_format=torch.channels_last), t, states).sample.float()
            base, cond = v.chunk(2)
            x = scheduler.step(base + guidance * (cond - base), t, x).prev_sample
        out.append(to_bytes(vae.decode(x).sample))
    return torch.cat(out)


def alignment(images, prompts):
    judged = oracle(images, prompts)
    def share(rows):
        rows = list(rows)
        return sum(r["verdict"] == "holds" for r in rows) / max(1, len(rows))
    single = [r for r, p in zip(judged, prompts) if not any(w in p for w in (" of ", "above", "below"))]
    pair = [r for r, p in zip(judged, prompts) if any(w in p for w in (" of ", "above", "below"))]
    facts = {}
    for r in judged:
        for f in r["facts"]:
            facts.setdefault(f["name"].replace("first ", "").replace("second ", ""), []).append(f.get("holds") is True)
    return share(judged), share(single), share(pair), {k: round(sum(v) / len(v), 2) for k, v in facts.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--batch", type=int, default=48, help="per process")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--ratio", type=float, default=10)
    parser.add_argument("--every", type=float, default=5, help="minutes between evaluations")
    dump("renders", count=60000, seed=11, captions=3)
    dump("train-prompts", prompts="train", count=4000, seed=77)
    launch(worker, "denoiser", parser.parse_args())


def worker(team, args):
    folder = WORK / "renders"
    vae, text, tokenizer = load_parts()
    lines = load_lines(folder / "meta.jsonl")
    cache = WORK / f"latents-{team.rank}.pt"
    if not cache.exists():
        images = load_images(folder)[team.rank :: team.size]
        latents = []
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for i in range(0, len(images), 100):
                latents.append(vae.quant_conv(vae.encoder(to_unit(images[i : i + 100])))[:, :8].half())
                if i % 5000 == 0 and team.rank == 0:
                    print("encoded", i, flush=True)
        save(cache, latents=torch.cat(latents))
    latents = restore(cache)["latents"].float()
    mine = lines[team.rank :: team.size]
    rows, index = tokenise(tokenizer, [c[0] for m in mine for c in m["c"]] + [""])
    empty = index[-1].item()
    index = index[:-1].view(len(mine), -1)
    prompts = [p["text"] for p in load_lines(WORK / "train-prompts" / "prompts.jsonl")[:128]]
    if team.rank == 0:
        print("latent std", latents[:2000].std((0, 2, 3)), "distinct captions", len(rows), flush=True)

    torch.manual_seed(3)
    unet = UNet2DConditionModel(**CONFIG).to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # plain products: the fused kernel's backward is slow on this processor
    parameters = list(unet.parameters())
    optimizer = Muon(unet.named_parameters(), lr=args.lr, ratio=args.ratio, betas=(0.9, 0.98), exclude=("conv_out",), team=team)
    ema = Ema(unet, 0.999)
    path = WORK / "denoiser.pt"
    state, step, spent = restore(path), 0, 0.0
    if state:
        unet.load_state_dict(state["model"]); optimizer.load_state_dict(state["optimizer"]); ema.shadow, ema.step = state["ema"], state["step"]
        step, spent = state["step"], state["spent"]
    if team.rank == 0:
        print("parameters", sum(p.numel() for p in parameters), flush=True)
    torch.manual_seed(1000 + step + team.rank)
    bar = alpha_bar()
    clock = Clock(args.minutes * 60, spent)
    share, seen, running = clock.share, 0, []
    logged = saved = time.time()
    judged = clock.spent
    while share < 1:
        pick = torch.randint(len(latents), (args.batch,))
        x = latents[pick]
        caption = index[pick, torch.randint(index.shape[1], (args.batch,))]
        caption[torch.rand(args.batch) < 0.1] = empty
        # Outline, colour and place are decided at noise well above the signal.
        u = torch.sigmoid(torch.randn(args.batch) + 0.4)
        u = torch.where(torch.rand(args.batch) < 0.2, torch.rand(args.batch), u)
        t = (u * 1000).long().clamp(0, 999)
        a, s = bar[t].sqrt()[:, None, None, None], (1 - bar[t]).sqrt()[:, None, None, None]
        noise = torch.randn_like(x)
        with torch.no_grad():
            states = text(rows[caption].long()).last_hidden_state
        with torch.autocast("cpu", torch.bfloat16):
            v = unet((a * x + s * noise).contiguous(memory_format=torch.channels_last), t, states).sample
        loss = (v.float() - (a * noise - s * x)).square().mean()
        loss.backward()
        share = team.reduce(parameters, clock.share)
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(learning_rate(args.lr, step, share, warmup=50, hold=0.5)); optimizer.zero_grad()
        step += 1; seen += args.batch * team.size; running.append(loss.item())
        if team.rank > 0:
            continue
        ema.update(unet)
        if time.time() - logged > 60:
            print(f"{clock.spent:.0f}s step {step} samples {step * args.batch * team.size} loss {sum(running) / len(running):.4f} norm {norm:.2f} {seen / (time.time() - logged):.0f}/s", flush=True)
            logged, seen, running = time.time(), 0, []
        if time.time() - saved > 90:
            save(path, model=unet.state_dict(), optimizer=optimizer.state_dict(), ema=ema.shadow, step=step, spent=clock.spent)
            saved = time.time()
        if clock.spent - judged > args.every * 60 or share >= 1:
            judged = clock.spent
            test = UNet2DConditionModel(**CONFIG).to(memory_format=torch.channels_last).eval()
            test.load_state_dict(ema.shadow)
            images = sample(test, vae, text, tokenizer, prompts, range(len(prompts)), steps=12)
            print(f"== {clock.spent:.0f}s step {step} alignment %.3f single %.3f pair %.3f %s" % alignment(images, prompts), flush=True)
            sheet(images[:48], WORK / f"denoiser-{step}.png")
            logged, seen = time.time(), 0
    if team.rank == 0:
        save(path, model=unet.state_dict(), optimizer=optimizer.state_dict(), ema=ema.shadow, step=step, spent=clock.spent)
        unet.load_state_dict(ema.shadow)
        unet.save_pretrained(WORK / "unet")


if __name__ == "__main__":
    main()
