"""Runs integrations/ for real against a running `laurel serve --score`: one line a case.

    python test/reference/integrations.py                             the client, the nodes, the script between stand-ins of the web UI's modules
        --forge CHECKOUT                                              the script inside the code of stable-diffusion-webui-forge
        --comfyui CHECKOUT --comfyui-python PYTHON                    the nodes inside a running ComfyUI

Needs a built dist/, Node, torch, numpy and Pillow; made with Python 3.11, torch 2.13.0, Pillow 13.0.0. Never a part of set-up or of the tests.
"""

import argparse
import contextlib
import http.server
import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
import types

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
TOKEN = "correct-horse-battery-staple"
PROMPT = "a (red:1.2) circle, 雪の中の狐 🦊"
sys.dont_write_bytecode = True


def told(case, **more):
    print(json.dumps({"case": case, **more, "ok": True}, ensure_ascii=False), flush=True)


@contextlib.contextmanager
def laurel(port=0, *options):
    """A server of Laurel's own; its address is in the environment meanwhile. Gives the address and what ends it early."""
    command = ["node", os.path.join(ROOT, "dist/cli/main.js"), "serve", "--score", "--port", str(port), "--json", "--quiet", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "LAUREL_TOKEN": TOKEN})
    text = ""
    while not text.endswith("}\n") or text.count("{") != text.count("}"):
        line = server.stdout.readline()
        assert line, "expected laurel serve to start"
        text += line
    os.environ.update(LAUREL_URL=json.loads(text)["url"], LAUREL_TOKEN=TOKEN)

    def stop():
        server.terminate()
        server.wait()

    try:
        yield json.loads(text)["url"], stop
    finally:
        stop()


@contextlib.contextmanager
def other_server(answer):
    """A program that is not Laurel; `answer` gets each request's handler."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append(dict(self.headers))
            answer(self, len(seen))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()


@contextlib.contextmanager
def environment(**values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def send(handler, status, body=b"", **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def module(name, path):
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[os.path.dirname(path)])
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def greys(*levels):
    from PIL import Image

    return [Image.new("RGB", (64, 64), (level, 40, 40)) for level in levels]


def png(image):
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def refused(client, message, images=None):
    try:
        client.score(PROMPT, images or [png(greys(9)[0])])
    except client.LaurelError as error:
        assert message in str(error) and "\n" not in str(error) and TOKEN not in str(error), str(error)
        return str(error)
    raise AssertionError(f"expected an error that says {message}")


def client_cases():
    client = module("laurel_client", os.path.join(ROOT, "integrations/webui/laurel_client.py"))
    files = [png(image) for image in greys(*range(0, 200, 10))]
    with laurel():
        whole = client.score(PROMPT, files)
        assert len(whole.scores) == 20 and all(isinstance(one, float) for one in whole.scores) and whole.key == "ImageReward"
        assert client.score(PROMPT, files[5:6]).scores == whole.scores[5:6]
        told("client: 20 pictures in two requests, each as alone", scores=len(whole.scores))
        broken = client.score("\ud83d lone surrogate", [files[0], b"no picture"])
        assert broken.scores[0] is not None and broken.scores[1] is None and "images[1]" in broken.notes[0], broken.notes
        told("client: a broken picture beside a good one, a prompt that is no text", note=broken.notes[0][:60])
        refused(client, "422", [b"no picture"])
        with environment(LAUREL_TOKEN="another-token-than-the-server's"):
            told("client: wrong token", message=refused(client, "401, Authorization: expected the server's bearer token, got another"))
        with environment(LAUREL_TOKEN=""):
            refused(client, "401, Authorization: expected the server's bearer token, got none")
        with environment(HTTP_PROXY="http://127.0.0.1:1", http_proxy="http://127.0.0.1:1"):
            assert client.score(PROMPT, files[:1]).scores == whole.scores[:1]
        told("client: a proxy is not asked for this machine")
    with environment(LAUREL_URL="http://127.0.0.1:1"):
        told("client: no server", message=refused(client, "http://127.0.0.1:1: expected laurel serve --score to answer"))
    for address in ("file:///etc/passwd", "http://[::1", "http://localhost:port", "http://ann:word@localhost", "laurel"):
        with environment(LAUREL_URL=address):
            refused(client, "LAUREL_URL: expected an address such as http://127.0.0.1:8787")
    html = b"<html>Bad Gateway</html>"
    with other_server(lambda one, _: send(one, 200, html)) as (url, _), environment(LAUREL_URL=url):
        refused(client, "got an answer that is not JSON")
    for status, message in ((200, "got an answer that is not JSON"), (500, "got status 500 from another program")):
        with other_server(lambda one, _: send(one, status, b"[" * 100_000)) as (url, _), environment(LAUREL_URL=url):
            refused(client, message)
    with other_server(lambda one, _: send(one, 502, html)) as (url, _), environment(LAUREL_URL=url):
        refused(client, "got status 502 from another program")
    told("client: another program answers")
    answer = json.dumps({"key": "ImageReward", "results": [{"score": 1.5}], "warnings": []}).encode()
    busy = lambda one, count: send(one, 503, b"{}", Retry_After="0") if count < 3 else send(one, 200, answer)  # noqa: E731
    with other_server(busy) as (url, seen), environment(LAUREL_URL=url):
        assert client.score(PROMPT, files[:1]).scores == [1.5] and len(seen) == 3
    told("client: a busy server is asked again")
    with other_server(lambda one, _: send(one, 200, answer)) as (elsewhere, seen):
        away = lambda one, _: send(one, 307, Location=elsewhere)  # noqa: E731
        with other_server(away) as (url, _), environment(LAUREL_URL=url, LAUREL_TOKEN=TOKEN):
            refused(client, "got status 307 from another program")
        assert seen == []
    told("client: a redirection gets neither token nor pictures")
    assert client.choose([0.5, None, 2.0, 1.0], 2) == ([2, 3], "") and client.choose([], 3, 1.0) == ([], "")
    assert client.choose([0.5, None, 2.0], 0, 9.0)[0] == [2] and client.choose([None, None], 1, 9.0)[0] == [0, 1]
    told("client: what is kept of all filtered, of none scored, of nothing")


def webui_cases():
    """Old versions of the web UI: no hook after composing, nothing that calls values of the generation parameters."""
    stand_in = types.ModuleType("modules.scripts")
    stand_in.Script, stand_in.AlwaysVisible = type("Script", (), {}), object()
    saved = []
    images = types.ModuleType("modules.images")
    images.save_image = lambda image, path, name, seed=None, prompt=None, extension="png", info=None, p=None: saved.append(info)
    shared = types.ModuleType("modules.shared")
    shared.opts = types.SimpleNamespace(samples_save=True, samples_format="png")
    package = types.ModuleType("modules")
    package.scripts, package.images, package.shared = stand_in, images, shared
    gradio = types.ModuleType("gradio")
    for name in ("Accordion", "Checkbox", "Slider", "Textbox"):
        setattr(gradio, name, lambda *_, **__: contextlib.nullcontext())
    sys.modules.update({"gradio": gradio, "modules": package, "modules.scripts": stand_in, "modules.images": images, "modules.shared": shared})
    script = module("laurel_script", os.path.join(ROOT, "integrations/webui/scripts/laurel.py")).LaurelScript()
    assert script.title() == "Laurel" and script.show(False) is stand_in.AlwaysVisible and len(script.ui(False)) == 5

    def draw(arguments, levels=(0, 80, 160, 240)):
        pictures = greys(*levels)
        p = types.SimpleNamespace(prompt=PROMPT, prompts=[PROMPT] * len(pictures), extra_generation_params={}, do_not_save_samples=False, outpath_samples="out")  # fmt: skip
        script.process(p, *arguments)
        texts = []
        for p.batch_index, picture in enumerate(pictures):
            script.postprocess_image(p, types.SimpleNamespace(image=picture), *arguments)
            texts.append(", ".join(f"{key}: {value}" for key, value in p.extra_generation_params.items()))
        done = types.SimpleNamespace(images=list(pictures), infotexts=texts, index_of_first_image=0, comments="", all_seeds=list(range(len(pictures))), all_subseeds=[1] * len(pictures), all_prompts=[PROMPT] * len(pictures), all_negative_prompts=[""] * len(pictures), seed=0, subseed=0, info="")  # fmt: skip
        script.postprocess(p, done, *arguments)
        assert p.extra_generation_params == {} and p.do_not_save_samples is False
        return done

    with laurel():
        whole = draw([True, 0, "", False, False])
        scores = [float(text.split("ImageReward: ")[1]) for text in whole.infotexts]
        best = scores.index(max(scores))
        assert draw([True, 2, "", True, False]).all_seeds[0] == best
        filtered = draw([True, 0, "99", True, True])
        assert filtered.all_seeds == [best] and saved == [filtered.infotexts[0]] and "no picture scores 99" in filtered.comments
        assert len(draw([True, 3, "not a number", True, False]).images) == 3
        with environment(LAUREL_TOKEN="another-token-than-the-server's"):
            wrong = draw([True, 1, "0", True, True])
            assert len(wrong.images) == 4 and wrong.comments.count("401") == 1 and len(saved) == 5
        assert len(draw([True, 1, "", True, False], levels=()).images) == 0
    with environment(LAUREL_URL="http://127.0.0.1:1"):
        down = draw([True, 1, "0", True, False])
        assert len(down.images) == 4 and "expected laurel serve --score to answer" in down.comments
    told("webui between stand-ins: scores, best, filter, wrong token, no server", scores=scores)


def comfyui_cases():
    import torch

    nodes = module("laurel_nodes", os.path.join(ROOT, "integrations/comfyui/__init__.py"))
    score, rank, select = (nodes.NODE_CLASS_MAPPINGS[name]() for name in ("LaurelScore", "LaurelRank", "LaurelFilter"))
    images = torch.stack([torch.full((64, 64, 3), level) for level in (0.1, 0.9, 0.5)])
    with laurel():
        passed, scores, floats, text = score.score(images, PROMPT)
        assert passed is images and floats == scores and text.startswith("ImageReward: "), text
        order = sorted(range(3), key=lambda i: -scores[i])
        best, kept, highest, _ = rank.rank(images, scores, 2)
        assert torch.equal(best, images[order[:2]]) and kept == [scores[i] for i in order[:2]] and highest == max(scores)
        good, _, any_passed, _ = select.filter(images, scores, sorted(scores)[1])
        assert any_passed is True and len(good) == 2
        last, kept, any_passed, text = select.filter(images, scores, 99.0)
        assert any_passed is False and torch.equal(last, images[order[:1]]) and "the best one" in text
        empty = images[:0]
        assert [len(one) for one in score.score(empty, PROMPT)[:3]] == [0, 0, 0]
        assert len(rank.rank(empty, [], 1)[0]) == 0 and len(select.filter(empty, [], 0.0)[0]) == 0
        for channels in (1, 4):
            assert None not in score.score(torch.rand(1, 8, 8, channels), PROMPT)[1]
    failures = type(score).IS_CHANGED()
    with environment(LAUREL_URL="http://127.0.0.1:1"):
        passed, scores, floats, text = score.score(images, PROMPT)
        assert passed is images and scores == [None] * 3 and text.startswith("no scores: ") and type(score).IS_CHANGED() > failures
        assert len(rank.rank(images, scores, 1)[0]) == 3 and len(select.filter(images, scores, 0.0)[0]) == 3
    told("comfyui nodes: scores, rank, filter, nothing left, no pictures, grey and alpha, no server")


def main():
    parser = argparse.ArgumentParser()
    for name in ("--forge", "--comfyui", "--comfyui-python"):
        parser.add_argument(name)
    given = parser.parse_args()
    client_cases()
    webui_cases()
    comfyui_cases()
    here = os.path.dirname(os.path.abspath(__file__))
    if given.forge:
        forge = [sys.executable, os.path.join(here, "integrations_forge.py"), given.forge]
        with laurel():
            subprocess.run(forge, check=True)
        subprocess.run(forge, check=True, env={**os.environ, "DOWN": "1", "LAUREL_URL": "http://127.0.0.1:1"})
    if given.comfyui:
        python = given.comfyui_python or sys.executable
        subprocess.run([sys.executable, os.path.join(here, "integrations_comfyui.py"), given.comfyui, python], check=True)


if __name__ == "__main__":
    main()
