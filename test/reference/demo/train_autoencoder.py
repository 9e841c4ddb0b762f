"""Trains the demo autoencoder (diffusers AutoencoderKL, factor 8, 8 latent channels) and folds the latents' scale into it.

    python test/reference/demo/train_autoencoder.py [--minutes 12]

Grid-aligned 32x32 crops first (the network is convolutional; most of a picture is empty), whole pictures last.
"""
import argparse, time
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from common import *

CONFIG = dict(
    in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(16, 32, 64, 96), layers_per_block=1, latent_channels=8, norm_num_groups=8, sample_size=64,
    mid_block_add_attention=False, scaling_factor=1.0,
)  # fmt: skip


def crops(images, metas, index, generator):
    """32x32 crops at multiples of 8; three in four around a shape."""
    out = torch.empty(len(index), 32, 32, 3, dtype=torch.uint8)
    for row, i in enumerate(index.tolist()):
        r = torch.rand(4, generator=generator)
        s = metas[i]
        if r[0] < 0.8:
            k = 1 if s[0] == 2 and r[1] < 0.5 else 0
            x0, y0 = s[5 + 5 * k] // 8, s[6 + 5 * k] // 8
            x = min(4, max(0, x0 - int(r[2] * 3) + (int(r[3] * 100) % 2 if s[4 + 5 * k] else 0)))
            y = min(4, max(0, y0 - int(r[3] * 3) + (int(r[2] * 100) % 2 if s[4 + 5 * k] else 0)))
        else:
            x, y = int(r[2] * 5), int(r[3] * 5)
        out[row] = images[i, y * 8 : y * 8 + 32, x * 8 : x * 8 + 32]
    return out


def loss_of(model, x, noise):
    mean, log_variance = model.quant_conv(model.encoder(x)).chunk(2, 1)
    mean = mean.float()
    std = mean.detach().std((0, 2, 3), keepdim=True) + 1e-3
    y = model.decoder(model.post_quant_conv(mean + noise * std * torch.randn_like(mean))).float()
    background = x.flatten(2).median(2).values[:, :, None, None]
    weight = 1 + 2 * ((x - background).abs().amax(1, keepdim=True) > 0.1).float()
    error = y - x
    reconstruction = (weight * (error.abs() + 2 * error.square())).mean()
    # Decorrelated, bounded latents; the variance head is unused by generation and merely kept small.
    kl = mean.square().mean() + (log_variance.float() + 6).square().mean()
    return reconstruction + 1e-4 * kl, error


@torch.no_grad()
def evaluate(model, images, metas, noise=0.0, count=256):
    model.eval()
    x = to_unit(images[:count])
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        z = model.quant_conv(model.encoder(x)).chunk(2, 1)[0]
        if noise:
            z = z + noise * z.std((0, 2, 3), keepdim=True) * torch.randn_like(z)
        y = model.decoder(model.post_quant_conv(z))
    model.train()
    out = to_bytes(y)
    mse = (out.float() - images[:count].float()).square().mean((1, 2, 3))
    psnr = (10 * torch.log10(255**2 / mse)).mean().item()
    agree = sum(reading_matches(r, s) for r, s in zip(oracle(out), metas)) / count
    return psnr, agree, out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=11)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--start", help="a folder in the work directory to start from")
    parser.add_argument("--ratio", type=float, default=10)
    parser.add_argument("--channels", type=int, nargs=4, default=[16, 32, 64, 96])
    parser.add_argument("--batch", type=int, default=12, help="crops per process and step")
    dump("renders", count=60000, seed=11, captions=3)
    launch(worker, "autoencoder", parser.parse_args())


def worker(team, args):
    folder = WORK / "renders"
    images = load_images(folder)
    metas = [m["s"] for m in load_lines(folder / "meta.jsonl")]
    test_images, test_metas = images[-512:], metas[-512:]
    torch.manual_seed(1)
    model = AutoencoderKL(**{**CONFIG, "block_out_channels": tuple(args.channels)})
    if args.start and not (WORK / "autoencoder.pt").exists():
        model = AutoencoderKL.from_pretrained(WORK / args.start)
    print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
    parameters = list(model.parameters())
    optimizer = Muon(model.named_parameters(), lr=2e-3, ratio=args.ratio)
    path = WORK / "autoencoder.pt"
    state = restore(path)
    step, spent = 0, 0.0
    if state:
        model.load_state_dict(state["model"]); optimizer.load_state_dict(state["optimizer"]); step, spent = state["step"], state["spent"]
    clock = Clock(args.minutes * 60, spent)
    generator = torch.Generator().manual_seed(100 + step + 7777 * team.rank); torch.manual_seed(9 + step + team.rank)
    saved = logged = time.time()
    seen = 0
    share = clock.share
    while share < 1:
        whole = share > 0.6
        batch = args.batch // 3 if whole else args.batch
        index = torch.randint(len(images) - 512, (batch,), generator=generator)
        pixels = images[index] if whole else crops(images, metas, index, generator)
        with torch.autocast("cpu", torch.bfloat16):
            loss, error = loss_of(model, to_unit(pixels), 0.02 + 0.1 * min(1.0, share * 2))
        loss.backward()
        share = team.reduce(parameters, clock.share)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(learning_rate(args.lr, step, share, warmup=30, hold=0.3)); optimizer.zero_grad()
        step += 1; seen += batch
        if team.rank == 0 and time.time() - logged > 45:
            rate = seen / (time.time() - logged)
            psnr, agree, _ = evaluate(model, test_images, test_metas, count=128)
            noisy = evaluate(model, test_images, test_metas, 0.15, 64)
            print(f"{clock.spent:.0f}s step {step} loss {loss.item():.4f} {team.size * rate:.0f}/s psnr {psnr:.2f} oracle {agree:.3f} noisy {noisy[0]:.1f} {noisy[1]:.3f}", flush=True)
            logged, seen = time.time(), 0
        if team.rank == 0 and time.time() - saved > 60:
            save(path, model=model.state_dict(), optimizer=optimizer.state_dict(), step=step, spent=clock.spent)
            saved = time.time()
    if team.rank > 0:
        return
    save(path, model=model.state_dict(), optimizer=optimizer.state_dict(), step=step, spent=clock.spent)
    # Fold (z - mean) / std of each latent channel into quant_conv and its inverse into post_quant_conv.
    with torch.no_grad():
        model.eval()
        z = torch.cat([model.quant_conv(model.encoder(to_unit(images[i : i + 256]))).chunk(2, 1)[0] for i in range(0, 2048, 256)])
        mean, std = z.mean((0, 2, 3)), z.std((0, 2, 3))
        print("latent mean", mean.tolist(), "std", std.tolist())
        quant, post = model.quant_conv, model.post_quant_conv
        n = len(mean)
        quant.weight[:n] /= std[:, None, None, None]; quant.bias[:n] = (quant.bias[:n] - mean) / std
        quant.bias[n:] -= 2 * std.log()
        post.bias += (post.weight[:, :, 0, 0] * mean).sum(1); post.weight *= std[None, :, None, None]
    psnr, agree, out = evaluate(model, test_images, test_metas, count=512)
    print(f"final psnr {psnr:.2f} oracle {agree:.4f}")
    sheet(torch.stack([test_images[:16], out[:16]], 1).flatten(0, 1), WORK / "autoencoder.png")
    model.save_pretrained(WORK / "vae")


if __name__ == "__main__":
    main()
