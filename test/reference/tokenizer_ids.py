"""Golden token ids of transformers' tokenizers, over the real vocabularies of CLIP and BERT:

python test/reference/tokenizer_ids.py bpe_simple_vocab_16e6.txt.gz vocab.txt

The first file is in the package open_clip_torch 3.3.0, the second is google-bert/bert-base-uncased's. What is written keeps only the
merges and tokens that the prompts use, each with its own id: both kinds of tokenizer give the same ids with them as with all.
"""

import gzip
import hashlib
import json
import pathlib
import random
import shutil
import sys
import tempfile
import unicodedata

import ftfy
import regex
import tokenizers
import transformers
from transformers import BertTokenizer, BertTokenizerFast, CLIPTokenizer, CLIPTokenizerFast
from transformers.models.clip.tokenization_clip import bytes_to_unicode

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "tokenizers"
MERGES_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
BERT_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"

WORDS = """a an the of in on with and to from at by is that it this painting photo drawing photograph portrait landscape
ocean clouds birds day time low depth field effect red blue green yellow orange purple pink cyan circle square triangle
large small left right above below background white grey black cat dog astronaut horse mountain forest castle river
sunset night city street cinematic lighting highly detailed sharp focus trending artstation oil watercolor digital art
beautiful ancient futuristic robot woman man child house tree flower light dark cafe naive street's they're lighthouse
""".split()
STYLES = """digital painting|concept art|octane render|unreal engine 5|matte painting|art nouveau|studio ghibli|watercolor|pencil sketch|ukiyo-e|cyberpunk|
steampunk|low poly|isometric|vaporwave|baroque|impressionism|pixel art|double exposure|long exposure|macro photograph|film grain|35mm|f/1.8|bokeh|8k uhd|hdr|
volumetric lighting|rim light|golden hour|intricate details|award-winning|masterpiece|best quality|sharp focus|trending on artstation""".replace("\n", "").split("|")
ARTISTS = """greg rutkowski|artgerm|alphonse mucha|van gogh|Claude Monet|H.R. Giger|Zdzis\u0142aw Beksi\u0144ski|Hayao Miyazaki|Caravaggio|Moebius|J.M.W. Turner|Hokusai|
Fran\u00e7oise Gilot|Jos\u00e9 Clemente Orozco|\u00c9douard Manet|Bj\u00f6rk|Frida Kahlo|Norman Rockwell""".replace("\n", "").split("|")
SUBJECTS = """a knight fighting a dragon|portrait of a cyborg woman|an astronaut riding a horse on mars|a bowl of ramen|two cats playing chess|the Eiffel Tower made of candy|
a raccoon wearing a tophat|an old fisherman's hands|a glass greenhouse in the jungle|a Victorian street at night|a corgi's birthday party|a 1967 Ford Mustang|an owl with 3 eyes|
a robot that can't swim|Emma Watson as a samurai|a map of Middle-earth|a cup of coffee with latte art saying "hello"|the last unicorn|a Japanese tea ceremony|neon-lit ramen shop""".replace("\n", "").split("|")
SAID = """A couple in formal evening wear going home get caught in a heavy downpour with no umbrellas
a painting of an ocean with clouds and birds, day time, low depth field effect
Someone who is very angry because they can't find their keys, comic style, speech bubble says "where?!"
A photo of a teddy bear on a skateboard in Times Square.
four apples, two of them green, on a wooden table next to a blue vase
the word 'START' written in chalk on a sidewalk
dolphin fractal, multicolor, hyperrealistic, trending on instagram, 4 k
highly detailed portrait of a post-apocalyptic wanderer, gas mask, dust, sunset, by wlop & ross tran
woman in a red dress standing at a bus stop, rainy evening; reflections on the wet pavement
Gandalf taking a selfie with Shrek at McDonald's
professional photo of a pangolin eating an ice-cream cone, National Geographic, telephoto lens
an extremely cute baby dragon hatching from an egg -- soft light, pastel colours!!!
Steve Jobs presenting the iPhone 27 on stage, blurry background, ISO 3200
a fluffy baby sloth with a knitted hat trying to figure out a laptop, close up, highly detailed, studio lighting, screen reflecting in its eyes
logo for a coffee shop called "Bean & Gone", minimal, vector, white background
masterpiece, best quality, 1girl, solo, long_hair, (blue_eyes:1.3), [[watercolor]], school_uniform, looking_at_viewer
ultra realistic illustration, steve urkle as the hulk, intricate, elegant, highly detailed, digital painting, artstation, concept art, smooth, sharp focus
(extremely detailed CG unity 8k wallpaper), the most beautiful artwork in the world, {{{floating}}} <lora:add_detail:0.6> BREAK night
photo of sks dog in the Acropolis --ar 16:9 --v 5 --no text
<my-concept> in the style of <gta5-artwork>, S*""".split("\n")

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

    # emoji: sequences, flags, keycaps, skin tones, text and emoji presentation
    "\U0001f469\U0001f3fd\u200d\U0001f680 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f3f4\u200d\u2620\ufe0f \U0001f9d1\u200d\U0001f91d\u200d\U0001f9d1",
    "\U0001f1ef\U0001f1f5\U0001f1e7\U0001f1f7 \U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f flag \U0001f1fa",
    "1\ufe0f\u20e3 #\ufe0f\u20e3 \u2764 \u2764\ufe0f \u2600\ufe0e \u00a9\ufe0f \u2122",
    "cute \U0001f436 puppy\U0001f43e\U0001f43e!!\U0001f60d\U0001f60d",
    # scripts
    "\u0e41\u0e21\u0e27\u0e19\u0e31\u0e48\u0e07\u0e1a\u0e19\u0e42\u0e15\u0e4a\u0e30 \u0e20\u0e32\u0e1e\u0e27\u0e32\u0e14\u0e2a\u0e35\u0e19\u0e49\u0e33",
    "\u0642\u0637\u0629 \u062a\u062c\u0644\u0633 \u0639\u0644\u0649 \u0627\u0644\u0637\u0627\u0648\u0644\u0629\u060c \u0644\u0648\u062d\u0629 \u0632\u064a\u062a\u064a\u0629 \u0661\u0662\u0663 \ufefb \ufdfa",
    "\u05d7\u05ea\u05d5\u05dc \u05e2\u05dc \u05e9\u05c1\u05d5\u05bc\u05dc\u05d7\u05b8\u05df \u05f3 \u05f4",
    "\u092e\u0947\u091c\u093c \u092a\u0930 \u092c\u0948\u0920\u0940 \u092c\u093f\u0932\u094d\u0932\u0940, \u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f \u0967\u0968\u0969",
    "\u30c6\u30fc\u30d6\u30eb\u306e\u4e0a\u306e\u732b\u3001\u6c34\u5f69\u753b\u3002\u304c\u304b\u3099 \u30d1\u30cf\u309a \uff76\uff9e \u3301 \u337f",
    "\ud0c1\uc790 \uc704\uc758 \uace0\uc591\uc774 \u1100\u1161\u11a8 \u3131\u314f",
    "\u4e00\u53ea\u5750\u5728\u684c\u5b50\u4e0a\u7684\u6a58\u732b\uff0c\u6c34\u5f69\u756b\uff0c\u9ad8\u6e05\uff01\uff01 8K",
    "\u041a\u043e\u0442 \u043d\u0430 \u0441\u0442\u043e\u043b\u0435, \u0430\u043a\u0432\u0430\u0440\u0435\u043b\u044c \u0401\u0436 \u0419\u043e\u0434 \u0438\u0306 \u0407\u0457 \u040e",
    "m\u00e8o ng\u1ed3i tr\u00ean b\u00e0n, tranh m\u00e0u n\u01b0\u1edbc, Ti\u1ebfng Vi\u1ec7t \u0110\u1eaft",
    "\u10d9\u10d0\u10e2\u10d0 \u0562\u0561\u057c \u1780\u17b6\u178f\u17cb \u0f56\u0f7c\u0f51\u0f0b \u1019\u103c\u1014\u103a\u1019\u102c \u0b95\u0bcb \u13a0\u13b3\u13a9 \u1c90\u1ca1 \uab70",
    "\U00010400\U00010428 \U0001e900\U0001e922 \U00010330 \U00012000 \U00013000 \U0001d49c\U0001d4b7 \U0001d7d8 \U0001f130",
    # case: special and conditional mappings
    "\u01c4\u01c5\u01c6 \u1f88 \u1fbc \ufb00 \u0390 \u03b0 \u1e9e \u00df SS \u0130I\u0131i \u0307 \u2160\u2170 \u24b6\u24d0 \u1e2b\u0331",
    "\u03a3\u03a3. \u03a3' \u03a3\u0301 \u03b1\u03a3\u0301 \u03a3\u03b1 \u0391\u03a3 \u0391\u03a3\u0391 \u0391.\u03a3 \u0391\u00ad\u03a3 \u0391\u03a3\u00ad",
    # what ftfy and html.unescape would change, and the reference without ftfy keeps
    "a &amp; b &lt;i&gt; &quot;quoted&quot; &#39;x&#39; &nbsp; &eacute; &amp;amp; &copy 2022",
    "caf\u00c3\u00a9 na\u00c3\u00afve it\u00e2\u20ac\u2122s \u00e2\u20ac\u0153x\u00e2\u20ac\u009d mojibake \u00f0\u0178\u02dc\u20ac",
    "\ufb01ne \ufb02ower \uff26\uff35\uff2c\uff2c \uff57\uff49\uff44\uff54\uff48 \u201ccurly\u201d \u2018quotes\u2019 \x1b[31mred\x1b[0m \u0132\u0133",
    "line\r\nbreak\rcarriage \u0085next \u2028sep <br/> \ufeffmark",
    # characters that are removed, kept or taken for spaces
    "\u200b \u200c \u200d \u200e\u200f \u202a\u202e \u2066\u2069 \ufeff \u00ad \u061c \u180e \u2060\u2064 \ufff9\ufffb \U000e0001 \U000e0041",
    "a\u200bb a\u200cb a\u200db a\u00adb a\ufeffb a\u2060b a\u180eb a\u034fb a\u115fb a\u3164b a\uffa0b",
    "a\u1680b a\u2000b a\u2007b a\u202fb a\u205fb a\u3000b a\u00a0b a\u2028b a\u2029b a\x1cb a\x1db a\x1eb a\x1fb a\x85b",
    "\u0378 \u0380 a\u0378b \u2fe0 \U0001fc00 \U00050000 \ufdd0 \ufffe \uffff \U0010ffff \U000e0fff",
    "\ue000 \uf8ff a\ue000b \U000f0000 \U00100000",
    "\ud800 a\udc00b \udfff\ud800 cat\ud83d dog",
    "".join(map(chr, range(0, 33))) + "end",
    "".join(map(chr, range(127, 160))) + "end",
    "\x00", "\u200b", "\ufffd", "\u3000\u2003", "\n", "\u0301", "\u0301\u0302a", "\u20dd a\u20dd", "\u0488\u0430\u0488",
    # numbers and marks
    "0.5 1e-5 2x4 16:9 4k 8K 1080p 35mm f/2.8 ISO100 $9.99 50% #1 @2x \u2116 5 n\u00ba 3\u00b3 10\u207b\u00b9 \u0969 \uff15 \u3007 \u4e94 \u2789",
    "'s 't 're 've 'm 'll 'd 'S'T'RE''s '''s don''t \u2019s \u02bcs s' '\u017f 'sx 'text o'clock rock'n'roll",
    "-- --- ... \u2026 ?! !? ~~~ *** ### ^^ (\u256f\u00b0\u25a1\u00b0)\u256f\ufe35 \u253b\u2501\u253b \u00af\\_(\u30c4)_/\u00af",
    "< > <|> <|startoftext|><|startoftext|> <|endoftext|>x <|endoftext|>> <<|endoftext|>",
    "[[CLS]] [CLS][SEP] [MASK]ed [unk] [UNK]nown [PAD]ding [ DEC ] [DEC]ode [enc] \uff3bCLS\uff3d",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism",
    "asdfghjkl qwertyuiop zxcvbnm xkcd \u00e6\u00f8\u00e5 \u00fe\u00f0 \u0153uvre \u0142\u00f3d\u017a \u0111 \u0127 \u014b",
    "https://www.example.org/a%20b?x=1&y=2#z user@example.org C:\\temp\\a.png #hashtag @mention",
    "\t\ta\t b  \n\n c \r d",
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a\u032f\u031e\u0320\u034dA\u036b\u0357\u0334\u0362\u0335\u031c\u0330\u0354L\u0368\u0367\u0369\u0358\u0320G\u0311\u0357\u030e\u0305\u035b\u0341\u0334\u033b\u0348\u034d\u0354\u0339",
    "\u1e9b\u0323 \u0344 \u0958 \u2adc \ufb2c \U0001d15e \u0071\u0307\u0323 \uac00\u11a8 \u1100\u1161",
]



def prompts():
    """The lists above, and random mixtures: of styles as people write them, of words, of assigned characters of many scripts."""
    r = random.Random(7)
    yield from PROMPTS
    yield from SAID
    for subject in SUBJECTS * 5:
        tags = r.sample(STYLES, r.randint(0, 9))
        tags += [r.choice(["by ", "art by ", "in the style of ", "by {} and "]).format(r.choice(ARTISTS)) + r.choice(ARTISTS) for _ in range(r.randint(0, 2))]
        r.shuffle(tags)
        yield r.choice([", ", ",", " , ", " | ", ". "]).join([subject] + tags)
    for _ in range(70):
        words = [r.choice(WORDS) for _ in range(r.randint(1, 60))]
        words = [r.choice([str.lower, str.title, str.upper])(w) + r.choice(["", "", ",", ".", "!", ":", "'s"]) for w in words]
        yield r.choice([" ", "  ", " "]).join(words)
    blocks = [(0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0x11FF)]
    blocks += [(0x1E00, 0x1FFF), (0x2000, 0x2BFF), (0x3000, 0x33FF), (0x4E00, 0x4FFF), (0xAC00, 0xAD00), (0xF900, 0xFFEF)]
    blocks += [(0x10000, 0x104FF), (0x1D400, 0x1D7FF), (0x1F000, 0x1FAFF), (0x20000, 0x20100)]
    for _ in range(230):
        chosen = r.sample(blocks, r.randint(1, 4)) + [(0x20, 0x7E), (0x20, 0x20)]
        text = ""
        while len(text) < r.randint(3, 60):
            c = chr(r.randint(*r.choice(chosen)))
            # Characters without a meaning yet are left out: it depends on the Unicode version what they are.
            if unicodedata.category(c) not in ("Cn", "Cs"):
                text += c
        yield text


def read_checked(path, sha256):
    data = pathlib.Path(path).read_bytes()
    assert hashlib.sha256(data).hexdigest() == sha256, f"{path}: another file than the golden values were made with"
    return data


def clip_merges(path):
    """OpenAI's file: a version line, 48,894 merges that count, and merges that do not."""
    lines = gzip.decompress(read_checked(path, MERGES_SHA256)).decode().split("\n")
    return [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]


def write_clip(folder, merges, vocabulary, special_map, config):
    folder.mkdir(parents=True)
    write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    write_json(folder / "special_tokens_map.json", special_map)
    write_json(folder / "tokenizer_config.json", config)


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def token(content):
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def ids_of(tokenizer, texts, length):
    """The ids without padding, of each text; None where a text cannot be given to the tokenizer (lone surrogates)."""
    rows = []
    for text in texts:
        try:
            rows.append(tokenizer(text, truncation=True, max_length=length)["input_ids"])
        except TypeError:
            rows.append(None)
    return rows


def used_merges(merges, tokenizers, texts):
    """The merges that these texts need: those of all symbols that the encoding of some word goes through."""
    made_by = {"".join(pair): pair for pair in reversed(merges)}
    used, open_symbols = set(), {t for tokenizer in tokenizers for text in texts for t in symbols_of(tokenizer, text)}
    while open_symbols:
        pair = made_by.get(open_symbols.pop())
        if pair is not None and pair not in used:
            used.add(pair)
            open_symbols.update(pair)
    return [pair for pair in merges if pair in used]


def symbols_of(tokenizer, text):
    try:
        return tokenizer.tokenize(text)
    except TypeError:
        return []


def trim(tokenizer_json, tokens, merges=None):
    """A tokenizer.json with only these tokens and merges in its vocabulary."""
    root = json.loads(tokenizer_json)
    root["model"]["vocab"] = {t: i for t, i in root["model"]["vocab"].items() if t in tokens}
    if merges is not None:
        root["model"]["merges"] = [list(pair) for pair in merges]
    return root


def differing(a, b):
    return sum(x != y for x, y in zip(a, b))


def clip_cases(path, texts, scratch):
    """Writes the files of CLIP's tokenizer; the ids by case, and how many prompts other tokenizers than the slow one see otherwise."""
    merges = clip_merges(path)
    symbols = list(bytes_to_unicode().values())
    tokens = symbols + [s + "</w>" for s in symbols] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {t: i for i, t in enumerate(tokens)}
    base = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True, "pad_token": "<|endoftext|>"}
    names = {"bos_token": token("<|startoftext|>"), "eos_token": token("<|endoftext|>"), "unk_token": token("<|endoftext|>")}
    # Later files carry added_tokens_decoder, and their special_tokens_map.json does not count.
    decoder = {"49406": token("<|startoftext|>") | {"special": True}, "49407": token("<|endoftext|>") | {"special": True}}
    decoder["0"] = token("!") | {"special": True, "normalized": False}
    configs = {
        "sd1": (names | {"pad_token": "<|endoftext|>"}, base),
        # Stable Diffusion 2 pads with "!", said only in special_tokens_map.json.
        "sd2": (names | {"pad_token": "!"}, base),
        "sd2-short": (names | {"pad_token": "<|endoftext|>"}, base | {"model_max_length": 32, "pad_token": "!", "added_tokens_decoder": decoder}),
    }
    for name, config in configs.items():
        write_clip(scratch / name, merges, vocabulary, *config)
    slow = CLIPTokenizer.from_pretrained(scratch / "sd1")
    fast = CLIPTokenizerFast.from_pretrained(scratch / "sd1")
    # Where "!" is a token of its own, words are cut otherwise.
    kept = used_merges(merges, [slow, fast, CLIPTokenizer.from_pretrained(scratch / "sd2")], texts)
    kept_tokens = {*symbols, *(s + "</w>" for s in symbols), *("".join(m) for m in kept), "<|startoftext|>", "<|endoftext|>"}
    small = {t: i for t, i in vocabulary.items() if t in kept_tokens}
    cases = {}
    for name, config in configs.items():
        full = CLIPTokenizer.from_pretrained(scratch / name)
        length = full.model_max_length
        write_clip(OUT / name, kept, small, *config)
        ids = ids_of(full, texts, length)
        assert ids == ids_of(CLIPTokenizer.from_pretrained(OUT / name), texts, length)
        cases[name] = {"pad": full.pad_token_id, "length": length, "ids": ids}
    (OUT / "clip-json").mkdir()
    path = OUT / "clip-json" / "tokenizer.json"
    write_json(path, trim(fast.backend_tokenizer.to_str(), kept_tokens, kept))
    ids = ids_of(fast, texts, 77)
    assert ids == ids_of(CLIPTokenizerFast(tokenizer_file=str(path)), texts, 77)
    cases["clip-json"] = {"pad": fast.pad_token_id, "length": 77, "ids": ids}
    # The same with a configuration beside it: "!" is a token of its own then.
    (OUT / "clip-json-sd2").mkdir()
    shutil.copy(path, OUT / "clip-json-sd2")
    write_json(OUT / "clip-json-sd2" / "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", "model_max_length": 40, "pad_token": "!"})
    other = CLIPTokenizerFast.from_pretrained(OUT / "clip-json-sd2")
    cases["clip-json-sd2"] = {"pad": other.pad_token_id, "length": 40, "ids": ids_of(other, texts, 40)}
    # What transformers does instead where ftfy is installed.
    slow.fix_text = ftfy.fix_text
    reference = cases["sd1"]["ids"]
    return cases, differing(reference, ids), differing(reference, ids_of(slow, texts, 77))


def bert_cases(path, texts):
    """As clip_cases, for BERT."""
    lines = read_checked(path, BERT_SHA256).decode().split("\n")[:-1]
    settings = {
        "uncased": {},
        "cased": {"do_lower_case": False},
        "keep-accents": {"strip_accents": False},
        "keep-ideographs": {"tokenize_chinese_chars": False},
    }
    slow = {name: BertTokenizer(path, **options) for name, options in settings.items()}
    fast = BertTokenizerFast(path)
    kept = {t for tokenizer in [*slow.values(), fast] for text in texts for t in symbols_of(tokenizer, text)}
    # With the last, tokens added later get the ids they have in the full vocabulary.
    kept |= {*slow["uncased"].all_special_tokens, lines[-1]}
    (OUT / "bert").mkdir()
    # The id is the line's number: the lines of tokens left out stay, empty.
    (OUT / "bert" / "vocab.txt").write_text("".join((t if t in kept else "") + "\n" for t in lines))
    cases = {}
    for name, options in settings.items():
        small = BertTokenizer(OUT / "bert" / "vocab.txt", **options)
        assert ids_of(slow[name], texts, 35) == ids_of(small, texts, 35)
        # ImageReward/models/BLIP/blip.py, init_tokenizer
        slow[name].add_special_tokens({"bos_token": "[DEC]"})
        slow[name].add_special_tokens({"additional_special_tokens": ["[ENC]"]})
        cases[name] = {"settings": options, "size": len(slow[name]), "ids": ids_of(slow[name], texts, 35)}
    (OUT / "bert-json").mkdir()
    write_json(OUT / "bert-json" / "tokenizer.json", trim(fast.backend_tokenizer.to_str(), kept))
    return cases, differing(ids_of(BertTokenizer(path), texts, 35), ids_of(fast, texts, 35))


def main():
    merges_path, bert_path = sys.argv[1:]
    sys.modules["ftfy"] = None  # transformers would use it
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    texts = list(dict.fromkeys(prompts()))
    assert len(texts) >= 500
    with tempfile.TemporaryDirectory() as scratch:
        clip, clip_fast, clip_ftfy = clip_cases(merges_path, texts, pathlib.Path(scratch))
    bert, bert_fast = bert_cases(bert_path, texts)
    versions = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "regex": regex.__version__}
    versions["ftfy"] = ftfy.__version__
    fixture = {
        "command": "python test/reference/tokenizer_ids.py bpe_simple_vocab_16e6.txt.gz vocab.txt",
        "versions": versions | {"unicode": unicodedata.unidata_version},
        "slowAndFastDiffer": {"clip": clip_fast, "bert": bert_fast},
        "slowAndFtfyDiffer": clip_ftfy,
        "prompts": texts,
        "clip": clip,
        "bert": bert,
    }
    path = OUT / "ids.json"
    path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
    print(path, path.stat().st_size, len(texts), "prompts; slow and fast differ:", fixture["slowAndFastDiffer"], "with ftfy:", clip_ftfy)


main()
