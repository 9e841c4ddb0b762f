"""Runs the backend `comfyui` against the real ComfyUI: the conformance suite and what only a real server can show.

    git clone https://github.com/comfyanonymous/ComfyUI && pip install -r ComfyUI/requirements.txt
    npm run build
    python test/reference/comfyui.py --comfyui ComfyUI

It writes a checkpoint of random weights into a temporary folder (a UNet of Stable Diffusion 1.x cut to one level, CLIP's text
encoder, a tiny autoencoder: about 300 MB, with ComfyUI's own classes, so that it is read like any other), starts ComfyUI on the CPU at
a free port of this machine with that folder as its own, runs test/reference/comfyui.conformance.ts, stops it, and prints one line of
JSON: the versions and how many cases passed. Nothing in ComfyUI's folder is changed. It takes a few minutes.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKPOINT = "laurel-tiny.safetensors"
# what ComfyUI needs to see to take a UNet for Stable Diffusion 1.x is a width of 320 and a context of 768
UNET = dict(
    image_size=8,
    in_channels=4,
    out_channels=4,
    model_channels=320,
    num_res_blocks=[1],
    channel_mult=[1],
    transformer_depth=[1],
    transformer_depth_output=[1, 1],
    transformer_depth_middle=1,
    context_dim=768,
    num_heads=8,
    use_spatial_transformer=True,
    legacy=False,
)


def write_checkpoint(comfyui: Path, file: Path) -> None:
    """Random weights under the names of the original single-file layout."""
    sys.path.insert(0, str(comfyui))
    sys.argv = [sys.argv[0], "--cpu"]  # ComfyUI reads it when it is imported
    import comfy.options

    comfy.options.enable_args_parsing()
    import torch
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from comfy.sd1_clip import SD1ClipModel
    from comfy.taesd.taesd import TAESD
    from safetensors.torch import save_file

    random = torch.Generator().manual_seed(0)
    modules = {
        "model.diffusion_model.": UNetModel(**UNET, device="cpu", dtype=torch.float32),
        "cond_stage_model.": SD1ClipModel(device="cpu", dtype=torch.float32).clip_l,
        "first_stage_model.": TAESD(latent_channels=4),
    }
    weights = {}
    for prefix, module in modules.items():
        for name, value in module.state_dict().items():
            if not value.is_floating_point() or value.ndim == 0:
                continue
            norm = value.ndim == 1 and name.endswith("weight")
            scale = 1 / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else 0
            drawn = torch.ones(value.shape) if norm else torch.randn(value.shape, generator=random) * scale
            weights[prefix + name] = drawn.half()
    file.parent.mkdir(parents=True)
    save_file(weights, file)


def own_folders(comfyui: Path, base: Path) -> list[str]:
    """Options that keep ComfyUI to a folder: it has had others over the years."""
    known = (comfyui / "comfy" / "cli_args.py").read_text()
    paths = base / "paths.yaml"
    paths.write_text(f"laurel:\n  base_path: {base}\n  checkpoints: models/checkpoints\n")
    options = [["--extra-model-paths-config", str(paths)]]
    for kind in ("input", "output", "temp", "user"):
        (base / kind).mkdir()
        options.append([f"--{kind}-directory", str(base / kind)])
    options.append(["--database-url", f"sqlite:///{base / 'comfyui.db'}"])
    options.append(["--disable-all-custom-nodes"])
    return [part for option in options if f'"{option[0]}"' in known for part in option]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, server: subprocess.Popen, log: Path, seconds: int = 300) -> dict:
    """What /system_stats says, as soon as it says anything."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if server.poll() is not None:
            raise SystemExit(f"ComfyUI ended at once:\n{log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"{url}/system_stats", timeout=10) as reply:
                return json.load(reply)["system"]
        except OSError:
            time.sleep(1)
    raise SystemExit(f"expected ComfyUI to answer within {seconds} s:\n{log.read_text()[-3000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--comfyui", type=Path, required=True, help="ComfyUI's folder")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs ComfyUI, with its requirements")
    given = parser.parse_args()
    comfyui = given.comfyui.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="laurel-comfyui-") as folder:
        base, port = Path(folder), free_port()
        write_checkpoint(comfyui, base / "models" / "checkpoints" / CHECKPOINT)
        log, url = base / "comfyui.log", f"http://127.0.0.1:{port}"
        command = [given.python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port)]
        command += own_folders(comfyui, base)
        # threads that wait for each other are slow on a machine that does something else beside
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        with log.open("w") as out:
            server = subprocess.Popen(command, cwd=comfyui, stdout=out, stderr=out, env=one_thread)
        try:
            system = wait_for(url, server, log)
            report = base / "report.json"
            environment = {**os.environ, "LAUREL_COMFYUI_URL": url, "LAUREL_COMFYUI_MODEL": CHECKPOINT}
            vitest = ["npx", "vitest", "run", "--config", str(HERE / "comfyui.vitest.config.ts")]
            vitest += ["--reporter=default", "--reporter=json", f"--outputFile.json={report}"]
            done = subprocess.run(vitest, cwd=HERE.parent.parent, env=environment, stdout=sys.stderr)
            results = json.loads(report.read_text()) if report.exists() else {}
        finally:
            server.terminate()
            server.wait(30)
        if done.returncode != 0:
            sys.stderr.write(log.read_text()[-3000:])
    facts = {
        "comfyui": system.get("comfyui_version"),
        "torch": system.get("pytorch_version"),
        "python": system.get("python_version", "").split(" ")[0],
        "passed": results.get("numPassedTests"),
        "failed": results.get("numFailedTests"),
    }
    print(json.dumps(facts))
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
