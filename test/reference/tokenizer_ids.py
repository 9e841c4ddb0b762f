"""Golden token ids of transformers' tokenizers: python test/reference/tokenizer_ids.py

Builds small vocabularies, writes them as a Stable Diffusion 1 and 2 tokenizer and as BERT's, and encodes a few hundred prompts.
"""

import collections
import json
import pathlib
import random
import shutil
import unicodedata

import regex
import transformers
from transformers import BertTokenizer, BertTokenizerFast, CLIPTokenizer, CLIPTokenizerFast
from transformers.models.clip.tokenization_clip import bytes_to_unicode

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "tokenizers"
WORDS = """a an the of in on with and to from at by is that it this painting photo drawing photograph portrait landscape
ocean clouds birds day time low depth field effect red blue green yellow orange purple pink cyan circle square triangle
large small left right above below background white grey black cat dog astronaut horse mountain forest castle river
sunset night city street cinematic lighting highly detailed sharp focus trending artstation oil watercolor digital art
beautiful ancient futuristic robot woman man child house tree flower light dark cafe naive street's they're lighthouse
""".split()

PROMPTS = [
    "",
    " ",
    "\n\t ",
    "a",
    "a red circle above a blue square",
    "A Painting of an OCEAN with clouds and birds, day time, low depth field effect",
    "it's they're we've I'm you'll he'd 's 'S 't' ''s can't CAN'T",
    "it'\u017f and '\u017ft and K\u212a",
    "12 345 6.78 1,000,000 3/4 \u00bd \u00b2 \u2167 \u2488",
    "hello!world!! ! !!! a!b",
    "<|startoftext|>a cat<|endoftext|> and more<|endoftext|>",
    "<|ENDOFTEXT|> <|StartOfText|> <| endoftext |> <|endoftext",
    "[CLS] a [SEP] b [PAD] [MASK] [UNK] [DEC] [ENC] [cls] [ sep ]",
    "a[SEP]b [ENC]c [[SEP]] [SEP][SEP]",
    "caf\u00e9 cafe\u0301 na\u00efve \u00c5ngstr\u00f6m \u0130stanbul \u0131 Stra\u00dfe \u1e9e",
    "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u03a3 \u03b1\u03a3 \u0391\u0345 a\u0345b \u0345",
    "\u4e00\u53ea\u732b \u5728 mountain\u5c71\u4e0a, \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \ud55c\uad6d\uc5b4",
    "\U00020000\U0002a6d0 \uf900\u2f00 \u3007 \u3400",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f \U0001f44d\U0001f3fd",
    "zero\u200bwidth \u200djoin\u200c soft\u00adhyphen \ufeffbom \u2060word",
    "tab\there\nnew\r\nline \x0bvertical \x0cform \x1cfs \x1fus \x85nel \u2028ls \u2029ps \xa0nbsp \u3000wide \u2009thin",
    "nul\x00 bell\x07 esc\x1b[0m del\x7f c1\x80\x9f repl\ufffd private\ue000",
    "e\u0301\u0302\u0303 Z\u0351\u036b\u0343a\u0363\u0308l\u0348g\u0332o\u0321 \u0915\u094d\u0937\u093f \u0e17\u0e35\u0e48 \u0639\u064e\u0631\u064e\u0628\u0650\u064a",
    "\u212b \u2126 \ufb01 \ufb03 \uff21\uff22\uff23 \u2460 \u24b6 \u01c4 \u01c5 \u0149",
    "quotes \u201cdouble\u201d \u2018single\u2019 it\u2019s \u00abguillemets\u00bb \u2014 \u2013 \u2026 \u2022 \u00a7 \u00a9 \u20ac \u00a3 $ + = < > | ~ ^ `",
    "snake_case kebab-case dot.ted a/b\\c #hash @at (paren) {brace} [bracket] :emoji: https://example.org/?q=1&r=2",
    "<lora:detail:0.8> ((masterpiece)), [blurry], (word:1.2) AND BREAK",
    "lighthouse lighthouses lightlighthouse unlighted",
    "x" * 100,
    "x" * 101,
    "\u00e9" * 101,
    "abcdefghijklmnopqrstuvwxyz" * 10,
    "a red circle above a blue square, " * 59,
    ("word " * 400).strip(),
    "\u732b" * 80,
    "!" * 200,
    "12345678901234567890123456789012345678901234567890",
    "a cinematic landscape, highly detailed, sharp focus, trending on artstation, an ancient castle above a river at sunset, oil painting",
]


def prompts():
    """The list above and random mixtures: of the words, and of assigned characters of many scripts."""
    r = random.Random(7)
    yield from PROMPTS
    for _ in range(70):
        words = [r.choice(WORDS) for _ in range(r.randint(1, 60))]
        words = [r.choice([str.lower, str.title, str.upper])(w) + r.choice(["", "", ",", ".", "!", ":", "'s"]) for w in words]
        yield r.choice([" ", "  ", " "]).join(words)
    blocks = [(0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0x11FF)]
    blocks += [(0x1E00, 0x1FFF), (0x2000, 0x2BFF), (0x3000, 0x33FF), (0x4E00, 0x4FFF), (0xAC00, 0xAD00), (0xF900, 0xFFEF)]
    blocks += [(0x10000, 0x104FF), (0x1D400, 0x1D7FF), (0x1F000, 0x1FAFF), (0x20000, 0x20100)]
    for _ in range(110):
        chosen = r.sample(blocks, r.randint(1, 4)) + [(0x20, 0x7E), (0x20, 0x20)]
        text = ""
        while len(text) < r.randint(3, 60):
            c = chr(r.randint(*r.choice(chosen)))
            # Characters without a meaning yet are left out: it depends on the Unicode version what they are.
            if unicodedata.category(c) not in ("Cn", "Cs"):
                text += c
        yield text


def train_byte_pairs(merges):
    """Plain byte-pair encoding of WORDS, each counted by its place in the list."""
    byte = bytes_to_unicode()
    words = {}
    for i, word in enumerate(WORDS):
        symbols = [byte[b] for b in word.encode()]
        symbols[-1] += "</w>"
        words[word] = (symbols, 1 + i % 5)
    out = []
    for _ in range(merges):
        counts = collections.Counter()
        for symbols, count in words.values():
            for pair in zip(symbols, symbols[1:]):
                counts[pair] += count
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        out.append(best)
        for symbols, _ in words.values():
            i = 0
            while i + 1 < len(symbols):
                if (symbols[i], symbols[i + 1]) == best:
                    symbols[i : i + 2] = ["".join(best)]
                i += 1
    return out


def write_clip(folder, merges, special_map, config):
    folder.mkdir(parents=True)
    symbols = list(bytes_to_unicode().values())
    tokens = symbols + [s + "</w>" for s in symbols] + list(dict.fromkeys("".join(m) for m in merges))
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    (folder / "special_tokens_map.json").write_text(json.dumps(special_map, indent=1) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def token(content):
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def write_bert(folder):
    folder.mkdir(parents=True)
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()] + list("\u4e00\u53ea\u732b\u03c3\u03c2\u00df\u0131\u00e6")
    pieces = ["lig", "light", "house", "ing", "ed", "er", "s", "ian", "scape", "gle", "star"]
    tokens = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + letters + ["##" + c for c in letters if c.isalnum()]
    tokens += [w for w in WORDS if w.isalpha()] + pieces + ["##" + p for p in pieces]
    (folder / "vocab.txt").write_text("".join(t + "\n" for t in dict.fromkeys(tokens)))


def encodings(tokenizer, length, texts):
    rows = []
    for text in texts:
        out = tokenizer(text, padding="max_length", truncation=True, max_length=length)
        rows.append({"text": text, "ids": out["input_ids"], "used": sum(out["attention_mask"])})
    return rows


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    texts = list(prompts())
    merges = train_byte_pairs(420)
    base = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True, "pad_token": "<|endoftext|>"}
    names = {"bos_token": token("<|startoftext|>"), "eos_token": token("<|endoftext|>"), "unk_token": token("<|endoftext|>")}
    write_clip(OUT / "sd1", merges, names | {"pad_token": "<|endoftext|>"}, base)
    # Stable Diffusion 2 pads with "!", said only in special_tokens_map.json; later files carry added_tokens_decoder instead.
    write_clip(OUT / "sd2", merges, names | {"pad_token": "!"}, base)
    size = len(json.loads((OUT / "sd1" / "vocab.json").read_text()))
    decoder = {str(size - 2): token("<|startoftext|>") | {"special": True}, str(size - 1): token("<|endoftext|>") | {"special": True}}
    decoder["0"] = token("!") | {"special": True, "normalized": False}
    short = base | {"model_max_length": 32, "pad_token": "!", "added_tokens_decoder": decoder}
    write_clip(OUT / "sd2-short", merges, names | {"pad_token": "<|endoftext|>"}, short)
    clip = {}
    for name in ["sd1", "sd2", "sd2-short"]:
        slow = CLIPTokenizer.from_pretrained(OUT / name)
        assert slow.fix_text is None, "ftfy is installed: these values are those without it"
        clip[name] = encodings(slow, slow.model_max_length, texts)
    (OUT / "sd1-json").mkdir()
    CLIPTokenizerFast.from_pretrained(OUT / "sd1").backend_tokenizer.save(str(OUT / "sd1-json" / "tokenizer.json"), pretty=False)

    write_bert(OUT / "bert")
    bert = {}
    for name, options in {
        "uncased": {},
        "cased": {"do_lower_case": False},
        "keep-accents": {"strip_accents": False},
        "keep-ideographs": {"tokenize_chinese_chars": False},
    }.items():
        slow = BertTokenizer(OUT / "bert" / "vocab.txt", **options)
        # ImageReward/models/BLIP/blip.py, init_tokenizer
        slow.add_special_tokens({"bos_token": "[DEC]"})
        slow.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
        bert[name] = {"settings": options, "size": len(slow), "encodings": encodings(slow, 35, texts)}
    (OUT / "bert-json").mkdir()
    fast = BertTokenizerFast(OUT / "bert" / "vocab.txt")
    fast.backend_tokenizer.save(str(OUT / "bert-json" / "tokenizer.json"), pretty=False)

    # Prompts once, ids by case in the order of the prompts, without padding.
    strip = lambda rows: [row["ids"][: row["used"]] for row in rows]  # noqa: E731
    fixture = {
        "command": "python test/reference/tokenizer_ids.py",
        "versions": {"transformers": transformers.__version__, "regex": regex.__version__, "unicode": unicodedata.unidata_version},
        "prompts": texts,
        "clip": {name: {"pad": rows[0]["ids"][-1], "length": len(rows[0]["ids"]), "ids": strip(rows)} for name, rows in clip.items()},
        "bert": {name: {k: v for k, v in case.items() if k != "encodings"} | {"ids": strip(case["encodings"])} for name, case in bert.items()},
    }
    path = OUT / "ids.json"
    path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
    print(path, path.stat().st_size, len(texts))


main()
