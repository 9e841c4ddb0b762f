"""Runs integrations/comfyui inside a running ComfyUI, through its own loader of node packages and its HTTP interface. Called by integrations.py:

    python test/reference/integrations_comfyui.py CHECKOUT PYTHON

CHECKOUT is ComfyUI (0.3.64 was used), PYTHON one that has what it needs. Every folder that it writes to is a temporary one.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from PIL import Image

from integrations import PROMPT, ROOT, laurel, told

SIDE = 64


@contextlib.contextmanager
def comfyui(checkout, python, base, url, port):
    """ComfyUI with the nodes and nothing else of its own to write to."""
    command = [python, "main.py", "--cpu", "--port", str(port), "--base-directory", base, "--database-url", f"sqlite:///{base}/comfy.db"]
    environment = {**os.environ, "LAUREL_URL": url}
    with open(os.path.join(base, "log.txt"), "w") as log:
        server = subprocess.Popen([*command, "--disable-auto-launch"], cwd=checkout, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            if server.poll() is not None:
                break
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/system_stats", timeout=2).read()
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def get(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def submit(url, graph):
    """Runs a workflow to its end; returns what its nodes put out."""
    body = json.dumps({"prompt": graph}).encode()
    try:
        answer = urllib.request.urlopen(urllib.request.Request(f"{url}/prompt", body, {"Content-Type": "application/json"})).read()
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from None
    told_id = json.loads(answer)["prompt_id"]
    for _ in range(600):
        history = json.loads(get(f"{url}/history/{told_id}"))
        if told_id in history:
            return history[told_id]
        time.sleep(0.1)
    raise AssertionError("expected the workflow to end")


def workflow(names, prompt, **inputs):
    """LoadImage and ImageBatch, then score, rank and filter, each saved; the texts are shown."""
    graph = {f"load{i}": {"class_type": "LoadImage", "inputs": {"image": name}} for i, name in enumerate(names)}
    batch = ["load0", 0]
    for i in range(1, len(names)):
        graph[f"batch{i}"] = {"class_type": "ImageBatch", "inputs": {"image1": batch, "image2": [f"load{i}", 0]}}
        batch = [f"batch{i}", 0]
    graph["score"] = {"class_type": "LaurelScore", "inputs": {"images": batch, "prompt": prompt, **inputs}}
    graph["rank"] = {"class_type": "LaurelRank", "inputs": {"images": ["score", 0], "scores": ["score", 1], "keep": 1}}
    graph["filter"] = {"class_type": "LaurelFilter", "inputs": {"images": ["score", 0], "scores": ["score", 1], "minimum": 99.0}}
    for name, text in (("score", 3), ("rank", 3), ("filter", 3)):
        graph[f"save-{name}"] = {"class_type": "SaveImage", "inputs": {"images": [name, 0], "filename_prefix": name}}
        graph[f"text-{name}"] = {"class_type": "PreviewAny", "inputs": {"source": [name, text]}}
    graph["passed"] = {"class_type": "PreviewAny", "inputs": {"source": ["filter", 2]}}
    graph["floats"] = {"class_type": "PreviewAny", "inputs": {"source": ["score", 2]}}
    return graph


def saved(url, run, name):
    """The pictures that a node has saved."""
    files = []
    for one in run["outputs"][f"save-{name}"]["images"]:
        data = get(f"{url}/view?filename={one['filename']}&type={one['type']}&subfolder={one['subfolder']}")
        files.append(Image.open(io.BytesIO(data)))
    return files


def main():
    checkout, python = (os.path.abspath(one) for one in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as base:
        for name in ("input", "output", "temp", "user", "models", "custom_nodes"):
            os.makedirs(os.path.join(base, name))
        shutil.copytree(os.path.join(ROOT, "integrations/comfyui"), os.path.join(base, "custom_nodes/laurel"))
        levels = (10, 120, 230)
        for level in levels:
            Image.new("RGB", (SIDE, SIDE), (level, 40, 40)).save(os.path.join(base, f"input/{level}.png"))
        names = [f"{level}.png" for level in levels]
        with laurel() as (address, stop):
            port = int(address.rsplit(":", 1)[1])
            with comfyui(checkout, python, base, address, port + 1) as url:
                known = json.loads(get(f"{url}/object_info"))
                assert {"LaurelScore", "LaurelRank", "LaurelFilter"} <= set(known), open(os.path.join(base, "log.txt")).read()
                run = submit(url, workflow(names, PROMPT))
                assert run["status"]["status_str"] == "success", run["status"]
                floats = [float(one) for one in run["outputs"]["floats"]["text"]]
                import_path = os.path.join(ROOT, "integrations/webui")
                sys.path.insert(0, import_path)
                import laurel_client

                files = [open(os.path.join(base, "input", name), "rb").read() for name in names]
                assert floats == laurel_client.score(PROMPT, files, "a1111").scores, "the scores of the files themselves"
                best = levels[floats.index(max(floats))]
                for node, expected in (("score", levels), ("rank", (best,)), ("filter", (best,))):
                    assert [picture.getpixel((0, 0))[0] for picture in saved(url, run, node)] == list(expected), node
                assert run["outputs"]["passed"]["text"] == ["False"] and "the best one" in run["outputs"]["text-filter"]["text"][0]
                graph = json.loads(saved(url, run, "rank")[0].info["prompt"])
                assert graph["score"]["inputs"]["prompt"] == PROMPT and "correct-horse" not in json.dumps(graph)
                told("ComfyUI: LoadImage, ImageBatch, score, rank, filter, SaveImage", scores=floats, best=best)
                stop()
                run = submit(url, workflow(names, "another prompt"))
                assert run["status"]["status_str"] == "success" and len(saved(url, run, "rank")) == 3
                assert run["outputs"]["text-score"]["text"][0].startswith("no scores: ")
                failed = submit(url, workflow(names, "another prompt", without_server="stop"))
                assert failed["status"]["status_str"] == "error"
                told("ComfyUI: no server: the pictures go on, or the workflow ends with an error, as chosen")
                with laurel(port):
                    run = submit(url, workflow(names, "another prompt"))
                    assert len(saved(url, run, "rank")) == 1 and "nan" not in run["outputs"]["floats"]["text"]
                told("ComfyUI: the server is back: the same workflow is scored")


if __name__ == "__main__":
    main()
