"""An exported Laurel reward in Python: scores, gradients, tokens. Needs numpy and onnxruntime; `Reward.torch` also needs torch.

    reward = Reward("folder")
    scores = reward.score(prompts, picture)
    scores, gradient = reward.gradient(prompts, picture)
    reward.torch(prompts, tensor).sum().backward()

Run this file to check the bundle it lies in against its known answer.
"""

import hashlib
import json
import os
import re
import sys
import unicodedata

import numpy as np

FORMAT = 1


# Tokens: as transformers' BertTokenizer, CLIPTokenizer (without ftfy) and CLIPTokenizerFast.


def _ideograph(character):
    code = ord(character)
    ranges = (
        (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF),
        (0x2F800, 0x2FA1F),
    )
    return any(low <= code <= high for low, high in ranges)


# JavaScript's \s, which knows U+FEFF and lacks U+0085 and the separators U+001C to U+001F
_SPACES = set("\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff") | {chr(code) for code in range(0x2000, 0x200B)}
# Unicode's White_Space
_WHITE_SPACE = (_SPACES - {"\ufeff"}) | {"\u0085"}


def _words(text, spaces=_SPACES):
    found, word = [], []
    for character in text:
        if character not in spaces:
            word.append(character)
        elif word:
            found.append("".join(word))
            word = []
    return found + (["".join(word)] if word else [])


def _punctuation(character):
    code = ord(character)
    ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_mark or unicodedata.category(character).startswith("P")


def _lower(text, whole):
    return text.lower() if whole else "".join(character.lower() for character in text)


def _basic_words(text, options):
    """Control characters removed, composed, split at white space, each word treated as the options say."""
    kept = []
    for character in text:
        if character == "\ufffd" or (unicodedata.category(character).startswith("C") and character not in "\t\n\r"):
            continue
        kept.append(f" {character} " if options["spaceIdeographs"] and _ideograph(character) else character)
    words = []
    for word in _words(unicodedata.normalize("NFC", "".join(kept))):
        if options["lowerCase"]:
            word = word.lower()
        if options["stripAccents"]:
            word = "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")
        if options["splitPunctuation"]:
            word = "".join(f" {c} " if _punctuation(c) else c for c in word)
        words.append(word)
    return _words(" ".join(words))


def _splitter(specials):
    """Cuts text at special tokens, the longest first: a list of ids and of text between them."""
    names = sorted((name for name in specials if name), key=len, reverse=True)
    if not names:
        return lambda text: [text]
    pattern = re.compile("(" + "|".join(re.escape(name) for name in names) + ")")
    return lambda text: [specials[part] if i % 2 else part for i, part in enumerate(pattern.split(text)) if part]


class _WordPiece:
    def __init__(self, description):
        self.vocabulary, self.unknown, self.text = description["vocabulary"], description["unknown"], description["text"]
        self.split = _splitter(description["specials"])

    def tokenize(self, text):
        ids = []
        for piece in self.split(text):
            if isinstance(piece, int):
                ids.append(piece)
                continue
            if self.text["lowerCase"]:
                piece = _lower(piece, whole=False)
            for word in _basic_words(piece, self.text):
                ids.extend(self._pieces(word))
        return ids

    def _pieces(self, word):
        if len(word) > 100:
            return [self.unknown]
        ids, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                found = self.vocabulary.get(("##" if start else "") + word[start:end])
                if found is not None:
                    break
            else:
                return [self.unknown]
            ids.append(found)
            start = end
        return ids


def _byte_symbols():
    symbols, following = [], 256
    for byte in range(256):
        printable = 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174
        symbols.append(chr(byte if printable else following))
        following += not printable
    return symbols


_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


def _clip_words(text, slow):
    """Special tokens (slow only), English contractions, runs of letters, single digits, runs of other marks."""
    spaces = _SPACES if slow else _WHITE_SPACE

    def kind(character):
        if character in spaces or (slow and character == "\u0345"):
            return "none"
        return {"L": "letter", "N": "digit"}.get(unicodedata.category(character)[0], "mark")

    starts = (("<|startoftext|>", "<|endoftext|>", "'\u017f") if slow else ()) + _CONTRACTIONS
    words, at = [], 0
    while at < len(text):
        word = next((start for start in starts if text.startswith(start, at)), None)
        if word is None:
            what = kind(text[at])
            end = at + 1
            while what in ("letter", "mark") and end < len(text) and kind(text[end]) == what:
                end += 1
            if what == "none":
                at = end
                continue
            word = text[at:end]
        words.append(word)
        at += len(word)
    return words


class _BytePair:
    def __init__(self, description):
        self.vocabulary, self.unknown = description["vocabulary"], description["unknown"]
        self.slow = description["words"] == "slow"
        self.ranks = {tuple(pair.split(" ")): rank for rank, pair in enumerate(description["merges"])}
        self.split = _splitter(description["specials"])
        self.split_normalized = _splitter({self._normalize(token): i for token, i in description["normalizedSpecials"].items()})
        self.symbols = _byte_symbols()

    @staticmethod
    def _normalize(text):
        text = unicodedata.normalize("NFC", text)
        spaced = re.sub("[" + re.escape("".join(sorted(_WHITE_SPACE))) + "]+", " ", text)
        return _lower(spaced, whole=False)

    def tokenize(self, text):
        ids = []
        for piece in self.split(text):
            ids.extend([piece] if isinstance(piece, int) else self._text(piece))
        return ids

    def _text(self, text):
        if self.slow:
            options = {"lowerCase": True, "stripAccents": False, "splitPunctuation": False, "spaceIdeographs": True}
            pieces = _clip_words(" ".join(_basic_words(text, options)), slow=True)
            marks = ("<|startoftext|>", "<|endoftext|>")
            pieces = [self.vocabulary.get(word, self.unknown) if word in marks else word for word in pieces]
        else:
            pieces = []
            for piece in self.split_normalized(self._normalize(text)):
                pieces.extend([piece] if isinstance(piece, int) else _clip_words(piece, slow=False))
        ids = []
        for piece in pieces:
            ids.extend([piece] if isinstance(piece, int) else (self.vocabulary.get(s, self.unknown) for s in self._merge(piece)))
        return ids

    def _merge(self, word):
        symbols = [self.symbols[byte] for byte in word.encode("utf-8", "replace")]
        symbols[-1] += "</w>"
        while len(symbols) > 1:
            ranks = [self.ranks.get(pair, float("inf")) for pair in zip(symbols, symbols[1:])]
            best = min(ranks)
            if best == float("inf"):
                break
            merged, i = [], 0
            while i < len(symbols):
                if i < len(ranks) and ranks[i] == best:
                    merged.append(symbols[i] + symbols[i + 1])
                    i += 2
                else:
                    merged.append(symbols[i])
                    i += 1
            symbols = merged
        return symbols


class Tokenizer:
    """A prompt's ids and mask, of a fixed length; what does not fit is cut."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.description = json.load(file)
        kinds = {"word-piece": _WordPiece, "byte-pair": _BytePair}
        if self.description.get("kind") not in kinds:
            raise ValueError(f"{path}: expected a word-piece or byte-pair tokenizer, got {self.description.get('kind')}")
        self.tokenize = kinds[self.description["kind"]](self.description).tokenize

    def __call__(self, prompts):
        """int64 arrays [N, length]: ids and mask."""
        d = self.description
        ids = np.full((len(prompts), d["maxLength"]), d["pad"], np.int64)
        mask = np.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            tokens = [d["start"], *self.tokenize(prompt)[: d["maxLength"] - 2], d["end"]]
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return ids, mask


class Reward:
    """A bundle's models. `picture` is float32 [N, ...] as the manifest's `picture` says; `prompts` one text, or one for each row."""

    def __init__(self, folder=None, providers=("CPUExecutionProvider",), verify=True, session_options=None):
        self.folder = os.path.abspath(folder or os.path.dirname(os.path.abspath(__file__)))
        path = os.path.join(self.folder, "manifest.json")
        with open(path, encoding="utf-8") as file:
            self.manifest = json.load(file)
        if self.manifest.get("kind") != "laurel-reward" or self.manifest.get("format") != FORMAT:
            raise ValueError(f"{path}: expected an exported reward of format {FORMAT}, got {self.manifest.get('kind')} {self.manifest.get('format')}")
        if verify:
            self._verify()
        self.tokenizers = [
            Tokenizer(os.path.join(self.folder, member["tokenizer"]["file"])) if member["tokenizer"] else None for member in self.manifest["rewards"]
        ]
        self.providers, self.session_options = list(providers), session_options
        self._sessions = {}

    def score(self, prompts, picture):
        """float32 [N]."""
        picture, feeds = self._feeds(prompts, picture)
        return self._session("score").run(["score"], feeds)[0]

    def members(self, prompts, picture):
        """Each reward's own scores by name, before they are weighted and summed."""
        names = [member["name"] for member in self.manifest["rewards"]]
        if len(names) == 1:
            return {names[0]: self.score(prompts, picture)}
        _, feeds = self._feeds(prompts, picture)
        return dict(zip(names, self._session("score").run([f"{name}.score" for name in names], feeds)))

    def gradient(self, prompts, picture, upstream=None):
        """Scores [N], and upstream_i * d score_i / d picture_i of the picture's shape; upstream is ones where it is not given."""
        picture, feeds = self._feeds(prompts, picture)
        upstream = np.ones(len(picture)) if upstream is None else upstream
        feeds["upstream"] = np.ascontiguousarray(upstream, np.float32)
        return tuple(self._session("gradient").run(["score", "gradient"], feeds))

    def torch(self, prompts, picture):
        """Scores as a torch tensor that gradients flow back through, to `picture`."""
        return _torch_function().apply(picture, self, prompts)

    def check(self):
        """The known answer: raises AssertionError unless tokens, scores and gradient are those of the export."""
        test = self.manifest["test"]
        for member, tokenizer in zip(self.manifest["rewards"], self.tokenizers):
            for name, array in zip(("ids", "mask"), tokenizer(test["prompts"]) if tokenizer else ()):
                if name in member["inputs"]:
                    assert array.tolist() == test["ids"][member["inputs"][name]], f"{member['name']}: other {name}"
        recipe = test["input"]
        index = np.arange(int(np.prod(test["shape"])), dtype=np.uint64)
        spread = ((index * np.uint64(recipe["multiplier"]) + np.uint64(recipe["offset"])) % np.uint64(2**32)).astype(np.float64) / 2**32
        picture = (recipe["low"] + (recipe["high"] - recipe["low"]) * spread).astype(np.float32).reshape(test["shape"])
        scores, slope = self.gradient(test["prompts"], picture, test["upstream"])
        assert np.abs(scores - self.score(test["prompts"], picture)).max() <= test["tolerance"]["score"], "the models disagree"
        assert np.abs(scores - test["scores"]).max() <= test["tolerance"]["score"], f"scores {scores}"
        length = float(np.sqrt((slope.astype(np.float64) ** 2).sum()))
        assert abs(length / test["gradientNorm"] - 1) <= test["tolerance"]["gradient"], f"norm {length}"
        first = slope.ravel()[: len(test["gradientFirst"])]
        assert np.abs(first - test["gradientFirst"]).max() <= test["tolerance"]["gradient"] * np.abs(slope).max(), f"values {first}"
        return scores

    def _feeds(self, prompts, picture):
        port = self.manifest["picture"]
        picture = np.ascontiguousarray(picture, np.float32)
        expected = port["shape"]
        rows = expected[0] if isinstance(expected[0], int) else (picture.shape[0] if picture.ndim else 0)
        if picture.shape != (rows, *expected[1:]) or rows < 1:
            raise ValueError(f"{port['name']}: expected {expected}, got {list(picture.shape)}")
        prompts = [prompts] * rows if isinstance(prompts, str) else list(prompts)
        if len(prompts) != rows:
            raise ValueError(f"prompts: expected {rows}, one for each row, got {len(prompts)}")
        feeds = {port["name"]: picture}
        for member, tokenizer in zip(self.manifest["rewards"], self.tokenizers):
            if tokenizer is None:
                continue
            ids, mask = tokenizer(prompts)
            feeds[member["inputs"]["ids"]] = ids
            if "mask" in member["inputs"]:
                feeds[member["inputs"]["mask"]] = mask
        return picture, feeds

    def _session(self, kind):
        if kind not in self._sessions:
            import onnxruntime

            path = os.path.join(self.folder, self.manifest["models"][kind]["file"])
            self._sessions[kind] = onnxruntime.InferenceSession(path, self.session_options, providers=self.providers)
        return self._sessions[kind]

    def _verify(self):
        faults = []
        for entry in self.manifest["files"]:
            path = os.path.join(self.folder, entry["path"])
            if not os.path.isfile(path):
                faults.append(f"{entry['path']}: expected a file, got none")
                continue
            digest = hashlib.sha256()
            with open(path, "rb") as file:
                for part in iter(lambda: file.read(1 << 20), b""):
                    digest.update(part)
            if digest.hexdigest() != entry["sha256"]:
                faults.append(f"{entry['path']}: expected sha256 {entry['sha256']}, got {digest.hexdigest()}")
        if faults:
            raise ValueError(f"{self.folder}: " + "; ".join(faults))


_function = None


def _torch_function():
    """The autograd function, made when it is first needed: torch is not."""
    global _function
    if _function is None:
        import torch

        class RewardFunction(torch.autograd.Function):
            @staticmethod
            def forward(ctx, picture, reward, prompts):
                values = picture.detach().cpu().float().numpy()
                # the gradient of each score is found with the score: one run for both
                if picture.requires_grad:
                    scores, slope = reward.gradient(prompts, values)
                    ctx.save_for_backward(torch.from_numpy(slope).to(picture))
                else:
                    scores = reward.score(prompts, values)
                return torch.from_numpy(scores).to(picture)

            @staticmethod
            def backward(ctx, upstream):
                (slope,) = ctx.saved_tensors
                return upstream.reshape(-1, *[1] * (slope.dim() - 1)) * slope, None, None

        _function = RewardFunction
    return _function


if __name__ == "__main__":
    bundle = Reward(sys.argv[1] if len(sys.argv) > 1 else None)
    print(f"{bundle.manifest['name']}: scores {bundle.check().tolist()} as exported")
