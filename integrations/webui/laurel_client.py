# Part of Laurel, Apache-2.0. The same file lies in integrations/webui and integrations/comfyui, since either folder is installed alone.
"""Asks a running `laurel serve --score` for scores. Python 3.9 or newer and its standard library, nothing else.

The environment says where the server is; nothing that a page, a picture or a workflow holds can send pictures or the token elsewhere:

- LAUREL_URL: its address, http://127.0.0.1:8787 if not set
- LAUREL_TOKEN, or LAUREL_TOKEN_FILE with the path of a file: its bearer token, if it asks for one
- LAUREL_TIMEOUT: seconds without a word from it, 300 if not set
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Optional, Sequence

DEFAULT_URL = "http://127.0.0.1:8787"
DEFAULT_TIMEOUT = 300.0
# One request holds at most so many pictures and bytes; the server takes 64 pictures and 64 MB unless it was told otherwise.
MOST_IMAGES = 16
MOST_BYTES = 32_000_000
# A longer answer is none of Laurel's.
MOST_ANSWER = 16_000_000
# A server that is busy is asked again so often, after the time it names, but not after more than so many seconds.
ATTEMPTS = 4
LONGEST_WAIT = 15.0


class LaurelError(Exception):
    """The server could not be asked, or refused; the message is one line for people."""


class Scores:
    """What the server said of some pictures."""

    def __init__(self, key: str, scores: "list[Optional[float]]", words: "list[str]", notes: "list[str]"):
        self.key = key
        """The key of the score in generation parameters: ImageReward."""
        self.scores = scores
        """One a picture, in their order, higher is better; None for one that could not be scored."""
        self.words = words
        """What each score means, where that is known: better than 84 % of the pictures ..."""
        self.notes = notes
        """Warnings, and why pictures could not be read."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token and the pictures go to the address that was set, and to no other."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: ANN001
        return None


def _setting(name: str, fallback: str) -> str:
    return os.environ.get(name, "").strip() or fallback


def _address() -> str:
    url = _setting("LAUREL_URL", DEFAULT_URL).rstrip("/")
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:  # brackets that do not close, a port that is no number
        usable = False
    if not usable:
        raise LaurelError(f"LAUREL_URL: expected an address such as {DEFAULT_URL}, got another text")
    return url


def _token() -> str:
    token = os.environ.get("LAUREL_TOKEN", "").strip()
    path = os.environ.get("LAUREL_TOKEN_FILE", "").strip()
    if not token and path:
        try:
            with open(path, encoding="utf-8") as file:
                token = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LaurelError(f"LAUREL_TOKEN_FILE: expected a file with the token, got {type(error).__name__}") from None
    if any(character < "!" or character > "~" for character in token):
        raise LaurelError("LAUREL_TOKEN: expected one line of visible ASCII characters, got others")
    return token


def _timeout() -> float:
    try:
        seconds = float(_setting("LAUREL_TIMEOUT", str(DEFAULT_TIMEOUT)))
    except ValueError:
        seconds = math.nan
    return seconds if 0 < seconds < 86_400 else DEFAULT_TIMEOUT


def _opener(url: str) -> urllib.request.OpenerDirector:
    host = urllib.parse.urlsplit(url).hostname or ""
    # a proxy has no way to this machine's own addresses
    local = host in ("localhost", "::1") or host.startswith("127.")
    handlers: "list[urllib.request.BaseHandler]" = [_NoRedirect()]
    if local:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def _ask(path: str, body: dict) -> dict:
    """Posts JSON; waits and asks again where the server is busy."""
    url = _address()
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    token = _token()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = json.dumps(body).encode("utf-8")
    opener = _opener(url)
    for attempt in range(1, ATTEMPTS + 1):
        request = urllib.request.Request(url + path, data=data, headers=headers, method="POST")
        try:
            with opener.open(request, timeout=_timeout()) as answer:
                return _parse(answer.read(MOST_ANSWER + 1), url)
        except urllib.error.HTTPError as error:
            wait = _wait(error)
            if error.code != 503 or attempt == ATTEMPTS:
                raise LaurelError(_refusal(error, url)) from None
            error.close()
            time.sleep(wait)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            text = str(reason) or type(reason).__name__
            raise LaurelError(f"{url}: expected laurel serve --score to answer, got {text[:200]}") from None
    raise LaurelError(f"{url}: expected an answer, got none")


def _wait(error: urllib.error.HTTPError) -> float:
    try:
        return min(max(float(error.headers.get("Retry-After", "1")), 0.1), LONGEST_WAIT)
    except ValueError:
        return 1.0


def _refusal(error: urllib.error.HTTPError, url: str) -> str:
    try:
        detail = json.loads(error.read(100_000)).get("detail")
    except (OSError, ValueError, AttributeError, RecursionError, http.client.HTTPException):
        detail = None
    finally:
        error.close()
    if isinstance(detail, str):
        return f"{url}: {error.code}, {detail[:500]}"
    return f"{url}: expected laurel serve --score, got status {error.code} from another program"


def _parse(text: bytes, url: str) -> dict:
    try:
        value = json.loads(text) if len(text) <= MOST_ANSWER else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise LaurelError(f"{url}: expected laurel serve --score, got an answer that is not JSON")
    return value


def _number(value: Any) -> Optional[float]:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def score(prompt: str, images: Sequence[bytes], prompt_syntax: str = "plain") -> Scores:
    """Scores files of pictures against what they should show.

    prompt_syntax "a1111" leaves weights, brackets and <lora:...> of AUTOMATIC1111's web UI out of the prompt.
    Raises LaurelError when the server cannot be asked or refuses.
    """
    result = Scores("ImageReward", [], [], [])
    for part in _parts(images):
        encoded = [base64.b64encode(image).decode("ascii") for image in part]
        # a lone surrogate, which Python lets into texts, is no character
        clean = prompt.encode("utf-8", "replace").decode("utf-8")
        answer = _ask("/v1/score", {"prompt": clean, "promptSyntax": prompt_syntax, "images": encoded})
        items = answer.get("results")
        if not isinstance(items, list) or len(items) != len(part) or not all(isinstance(one, dict) for one in items):
            raise LaurelError(f"{_address()}: expected {len(part)} scores, got another answer")
        key = answer.get("key")
        if isinstance(key, str):
            result.key = key
        result.scores += [_number(one.get("score")) for one in items]
        result.words += [str(one.get("words") or "") for one in items]
        warnings = answer.get("warnings")
        errors = [one.get("error") for one in items]
        notes = [*(warnings if isinstance(warnings, list) else []), *errors]
        result.notes += [note for note in notes if isinstance(note, str) and note not in result.notes]
    return result


def _parts(images: Sequence[bytes]) -> "list[list[bytes]]":
    """Parts that fit into a request each."""
    parts: "list[list[bytes]]" = []
    size = 0
    for image in images:
        # in base64, 4 characters for 3 bytes
        length = len(image) * 4 // 3
        if not parts or len(parts[-1]) >= MOST_IMAGES or size + length > MOST_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(image)
        size += length
    return parts


def choose(
    scores: "Sequence[Optional[float]]", keep: int = 0, minimum: Optional[float] = None
) -> "tuple[list[int], str]":
    """Places of the pictures that are kept, the best first, and what is to be said of it.

    keep: at most so many, 0 is all. minimum: only those that score as much or more; if none does, the best one is kept all the same.
    Without any score all are kept as they are.
    """
    scored = [i for i, value in enumerate(scores) if value is not None and not math.isnan(value)]
    if not scored:
        return list(range(len(scores))), "no picture has a score; all are kept" if scores else ""
    order = sorted(scored, key=lambda i: -(scores[i] or 0.0))
    message = ""
    kept = order
    if minimum is not None:
        kept = [i for i in order if (scores[i] or 0.0) >= minimum]
        if not kept:
            kept = order[:1]
            message = f"no picture scores {minimum:g} or more; the best one, with {scores[order[0]]:.4f}, is kept"
    elif len(order) < len(scores):
        # a picture that could not be scored was not found wanting
        kept = order + [i for i in range(len(scores)) if i not in set(order)]
    return kept[:keep] if keep > 0 else kept, message
