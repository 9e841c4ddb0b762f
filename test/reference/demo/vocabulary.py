"""Builds the demo models' vocabularies from the world's words and ordinary English: a CLIP byte-level BPE (byte-complete,
vocab.json and merges.txt) and a BERT WordPiece (vocab.txt), at most 2,000 entries each.

    python test/reference/demo/vocabulary.py
"""
import collections, json, re
from common import *

ENGLISH = """the of and to in is that it was for on with as at be this have from or by one had not but what all were when we there can an your which their said if do will each
about how up out them then she many some so these would other into has more her two like him see time could no make than first been its who now people my made over did down only way find use may water
long little very after words called just where most know get through back much before go good new write our used me man too any day same right look think also around another came come work three word must because does part
even place well such here take why things help put years different away again off went old number great tell men say small every found still between name should home big give air line set own under read last never us left
end along while might next sound below saw something thought both few those always looked show large often together asked house world going want school important until form food keep children feet land side without boy once animals life
enough took sometimes four head above kind began almost live page got earth need far hand high year mother light parts country father let night following picture being study second eyes soon times story boys since white days ever paper hard near
sentence better best across during today others however sure means knew try told young miles sun ways thing whole hear example heard several change answer room sea against top turned learn point city play toward five using himself usually
money seen car morning given trees hand body upon family later turn move face door cut done group true leave color red face plants told idea short order ran inside wheels blue yellow green brown gold silver dark bright
photo painting drawing sketch image style portrait landscape mountain river ocean forest flower bird dog cat horse person woman child street building bridge castle sky cloud rain snow fire moon star planet space robot machine
beautiful realistic detailed digital art artist oil watercolor cartoon anime cinematic lighting shadow texture pattern abstract modern ancient wooden metal glass stone plastic leather soft sharp clean dirty quality resolution camera lens
crimson scarlet maroon navy teal lime olive gray grey magenta violet indigo beige turquoise ball cube sphere cone pyramid rectangle oval ellipse diamond heart cross arrow ring dot shape shapes figure object background front behind beside next top bottom middle centre center corner edge""".split()
SUFFIXES = "s es ed ing er ers est ly y ies ness ment tion able ful less al ic ous ive or en".split()


def world_texts():
    folder = dump("words", words=True)
    texts = re.sub(r"\b[ABRPSG]\b", " ", (folder / "words.txt").read_text().replace("\n", " "))
    grammar = "a an small large red orange yellow green cyan blue purple pink circle square triangle left right of above below on white grey black background".split()
    return sorted(set(re.findall(r"[a-z]+", texts.lower())) | set(grammar))


def bytes_to_unicode():
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return keep, table


def clip_vocabulary(folder, size=2000):
    world = world_texts()
    counts = collections.Counter({w: 1000 for w in world})
    for i, w in enumerate(ENGLISH):
        counts[w] += 1 + 200 // (i + 20)
    words = {w: tuple(w[:-1]) + (w[-1] + "</w>",) for w in counts}
    keep, table = bytes_to_unicode()
    ordered = [table[b] for b in keep] + [table[b] for b in range(256) if b not in keep]
    merges = []
    while len(merges) < size - 514:
        pairs = collections.Counter()
        for w, parts in words.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = max(sorted(pairs), key=lambda p: pairs[p])
        merges.append(best)
        joined = best[0] + best[1]
        for w, parts in words.items():
            if best[0] in parts:
                out, i = [], 0
                while i < len(parts):
                    if i + 1 < len(parts) and (parts[i], parts[i + 1]) == best:
                        out.append(joined); i += 2
                    else:
                        out.append(parts[i]); i += 1
                words[w] = tuple(out)
    assert all(len(words[w]) == 1 for w in world), [w for w in world if len(words[w]) > 1]
    vocab = ordered + [c + "</w>" for c in ordered]
    vocab += [a + b for a, b in merges] + ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(vocab)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = lambda text: {"__type": "AddedToken", "content": text, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "add_prefix_space": False, "bos_token": special("<|startoftext|>"), "eos_token": special("<|endoftext|>"), "unk_token": special("<|endoftext|>"),
        "pad_token": "<|endoftext|>", "do_lower_case": True, "errors": "replace", "model_max_length": 32, "tokenizer_class": "CLIPTokenizer"}, indent=2) + "\n")  # fmt: skip
    (folder / "special_tokens_map.json").write_text(json.dumps({
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}, indent=2) + "\n")  # fmt: skip
    return len(vocab)


def wordpiece_vocabulary(folder):
    world = world_texts()
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()] + list("àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœß£€°·–—‘’“”…×")
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + letters + ["##" + c for c in letters if c.isalnum()] + ["##" + s for s in SUFFIXES if len(s) > 1]
    for word in world + ENGLISH:
        if word not in vocab:
            vocab.append(word)
    vocab = vocab[:1998] + ["[DEC]", "[ENC]"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{t}\n" for t in vocab))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "do_lower_case": True, "model_max_length": 35, "tokenizer_class": "BertTokenizer", "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]",
        "cls_token": "[CLS]", "mask_token": "[MASK]", "bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]}, indent=2) + "\n")  # fmt: skip
    return len(vocab)


if __name__ == "__main__":
    print("clip", clip_vocabulary(MODELS / "stable-diffusion" / "tokenizer"))
    clip_vocabulary(MODELS / "clip")
    print("wordpiece", wordpiece_vocabulary(MODELS / "image-reward"))
