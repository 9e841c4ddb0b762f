"""The cache of the Hugging Face hub, written by Python and by Laurel from one local hub: same layout, each reads the other's.

    python test/reference/hub_cache.py        # from the repository, after npm run build

Writes test/fixtures/weights/hub-cache.json: the layout that huggingface_hub writes, which the tests lay out again for Laurel to read.
Fails when huggingface_hub does not find, in the cache that Laurel wrote, what it finds in its own.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "test" / "fixtures" / "weights" / "hub-cache.json"
REPOSITORY = "laurel/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type":"tiny"}',
    "unet/config.json": b'{"sample_size":8}',
    "unet/deep/model.safetensors": bytes(range(256)) * 4,
}


def etag_of(content: bytes) -> tuple[str, bool]:
    """As the hub gives it: SHA-256 of large files, git's SHA-1 of small ones."""
    if len(content) >= 1000:
        return hashlib.sha256(content).hexdigest(), True
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), False


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        path = unquote(urlparse(self.path).path)
        if path.startswith("/api/models/"):
            siblings = [{"rfilename": name} for name in FILES]
            body = json.dumps({"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "siblings": siblings}).encode()
            return self.send(200, {"Content-Type": "application/json"}, body)
        if path.startswith("/cdn/"):
            return self.send(200, {"ETag": '"of-the-cdn"'}, FILES[path.removeprefix("/cdn/")])
        name = path.split("/", 5)[5]
        if name not in FILES:
            return self.send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b"")
        etag, large = etag_of(FILES[name])
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}
        if not large:
            return self.send(200, headers, FILES[name])
        linked = {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(FILES[name]))}
        location = f"http://127.0.0.1:{self.server.server_port}/cdn/{name}"
        return self.send(302, {**headers, **linked, "Location": location}, b"")

    def send(self, status: int, headers: dict[str, str], body: bytes):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def layout(folder: Path) -> dict[str, dict[str, str]]:
    """Files as text in Latin-1, links as what they lead to; locks are each program's own."""
    entries = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith(".locks") or name == "CACHEDIR.TAG":
            continue
        if path.is_symlink():
            entries[name] = {"link": os.readlink(path)}
        elif path.is_file():
            entries[name] = {"content": path.read_bytes().decode("latin-1")}
    return entries


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    os.environ.update(HF_ENDPOINT=endpoint, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    import huggingface_hub
    from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache

    with tempfile.TemporaryDirectory() as temporary:
        theirs, ours = Path(temporary, "python"), Path(temporary, "laurel")
        snapshot_download(REPOSITORY, cache_dir=theirs)
        try:
            hf_hub_download(REPOSITORY, "vae/config.json", cache_dir=theirs)
        except huggingface_hub.errors.EntryNotFoundError:
            pass
        laurel = ["node", str(ROOT / "dist" / "cli" / "main.js"), "models", "pull", REPOSITORY]
        environment = {**os.environ, "HF_HUB_CACHE": str(ours), "HOME": temporary}
        subprocess.run(laurel, env=environment, check=True, stdout=subprocess.DEVNULL)
        absent = subprocess.run([*laurel, "--include", "vae/config.json"], env=environment, capture_output=True, text=True)
        assert absent.returncode == 5, absent

        assert layout(ours) == layout(theirs), (layout(ours), layout(theirs))
        path = Path(snapshot_download(REPOSITORY, cache_dir=ours, local_files_only=True))
        assert path == ours / "models--laurel--tiny" / "snapshots" / COMMIT
        for name, content in FILES.items():
            found = hf_hub_download(REPOSITORY, name, cache_dir=ours, local_files_only=True)
            assert Path(found).read_bytes() == content, name
        missing = try_to_load_from_cache(REPOSITORY, "vae/config.json", cache_dir=ours)
        assert missing is huggingface_hub._CACHED_NO_EXIST, missing
        scan = scan_cache_dir(ours)
        # later versions write this file themselves; 0.36 takes it for a repository that is no folder
        warnings = [str(one) for one in scan.warnings if "CACHEDIR.TAG" not in str(one)]
        assert not warnings, warnings
        (repository,) = scan.repos
        (revision,) = repository.revisions
        assert (revision.commit_hash, set(revision.refs), revision.nb_files) == (COMMIT, {"main"}, len(FILES))
        fixture = {
            "command": "python test/reference/hub_cache.py",
            "versions": {"python": platform.python_version(), "huggingface_hub": huggingface_hub.__version__},
            "entries": layout(theirs),
        }
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(json.dumps(fixture, indent=2) + "\n")
    print(f"huggingface_hub {huggingface_hub.__version__}: {len(FILES)} files, layouts equal, each reads the other's", file=sys.stderr)


if __name__ == "__main__":
    main()
