"""Writes hf_vectors.json: what the Hugging Face tokenizers library (0.23) answers.

    pip install tokenizers && python make_vectors.py [number of random texts]

Each variant is a tokenizer file of this folder with a JSON merge patch, so that one small vocabulary
serves to check every kind of pre-tokenizer. small_metaspace.json, a vocabulary of characters with
byte fallback, is trained here if it is missing.
"""
import json
import random
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, trainers

HERE = Path(__file__).parent
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(use_regex=False, prefix=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": use_regex}


def split(regex, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def added(id, content, special=False, lstrip=False, rstrip=False):
    return {"id": id, "content": content, "single_word": False, "lstrip": lstrip, "rstrip": rstrip,
            "normalized": False, "special": special}


UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
WORD = r"[^\r\n\p{L}\p{N}]?"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = "|".join([WORD + UPPER + "*" + LOWER + "+" + CONTRACTIONS + "?",
                  WORD + UPPER + "+" + LOWER + "*" + CONTRACTIONS + "?", r"\p{N}{1,3}",
                  r" ?[^\s\p{L}\p{N}]+[\r\n/]*", SPACES])
DEEPSEEK_V3 = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
               " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
ADDED = [added(0, "<|begin_of_text|>", True), added(1, "<|end_of_text|>", True),
         added(4096, "<think>"), added(4097, "<|left|>", True, lstrip=True),
         added(4098, "<|right|>", False, rstrip=True), added(4099, "<|left|>more"), added(4100, "  ")]

VARIANTS = [
    ("stories", "stories_tokenizer.json", {}),
    ("added_tokens", "stories_tokenizer.json", {"added_tokens": ADDED}),
    ("prefix_space", "stories_tokenizer.json", {"pre_tokenizer": byte_level(True, True)}),
    ("llama3", "stories_tokenizer.json",
     {"pre_tokenizer": sequence(split(LLAMA3), byte_level()), "model": {"ignore_merges": True}}),
    ("qwen2", "stories_tokenizer.json",
     {"normalizer": {"type": "NFC"}, "pre_tokenizer": sequence(split(QWEN2), byte_level())}),
    ("gpt-4o", "stories_tokenizer.json",
     {"pre_tokenizer": sequence(split(GPT4O, "Removed", True), byte_level())}),
    ("deepseek-v3", "stories_tokenizer.json",
     {"normalizer": {"type": "Sequence", "normalizers": []},
      "pre_tokenizer": sequence(split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK_V3),
                                byte_level())}),
    ("deepseek-llm", "stories_tokenizer.json",
     {"pre_tokenizer": sequence(split("[\r\n]"), split(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓа-я]+"),
                                split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$"),
                                split("[一-龥ࠀ-一가-퟿]+"), {"type": "Digits", "individual_digits": True},
                                byte_level())}),
    ("punctuation", "stories_tokenizer.json",
     {"pre_tokenizer": sequence({"type": "Punctuation", "behavior": "Contiguous"},
                                {"type": "Digits", "individual_digits": False}, byte_level(True))}),
    ("line_ends", "stories_tokenizer.json", {"pre_tokenizer": sequence(split(r"\s+$|^\S"), byte_level())}),
    ("small_prepend", "small_metaspace.json", {}),
    ("small_metaspace_first", "small_metaspace.json",
     {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁",
                                            "prepend_scheme": "first", "split": False}}),
    ("small_metaspace_always", "small_metaspace.json",
     {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁",
                                            "prepend_scheme": "always", "split": True}}),
    ("small_no_bytes", "small_metaspace.json", {"model": {"byte_fallback": False}}),
]

ODD_TEXTS = [
    "", "é e\u0301 a\u0323\u0307 a\u0307\u0323 \u1e9b\u0323 각 \u1100\u1161\u11a8 \u212b \u2126",
    "\u180e x\u180e \u200b \u00a0\u00a0a \u2003\u2003 \u3000。\u0085x \u2028 \u1680\t\v\f z",
    "don't DON'T 'ſ I'LL we'Ve 's'T", "HelloWorld ÀÉÎõü ΑΒΓδεζ ЖЗИйклМ ǅǆ ʰʱ iPhone9 XMLHttpRequest",
    "½ ² Ⅷ ٣٤٥ 一二三 ൧൨൩ 1234567 x12y", "日本語のテキスト、カタカナ。中文，한국어 ไทย हिन्दी עִבְרִית عَرَبِيّ",
    "\n\n\r\n \r x \n  \n\t\n", "   \n   x   \n\n   y    ", "a/b//c/\n//\r\n", "$100 + €5 = ~£90^2 `code` |x|",
    "👩‍👩‍👧‍👦👍🏽🇩🇪 ✈️ 🏴",
    "<|begin_of_text|>Once <think>  deep </think> upon<|end_of_text|>",
    "a  \t <|left|>  b <|right|> \n c <|left|>more d<|left|><|right|><|left|>",
    "▁already ▁▁ here ▁", " lead", "  two", "trail ", "\u0000\u0001\u007f", "\ufeffBOM", "\U0010ffff\ue000",
    "ab" * 60, " " * 70 + "x" + " " * 33, "aAbB" * 20, "e" + "\u0301\u0323" * 20,
]
ALPHABETS = ["abcdefgh  ", "aB'sSrRe \n", "0123456789 ,.", "é\u0301\u0323aé e", "中文ひらカナ。 ", "<|think>left right",
             " \t\n\r\u00a0\u3000x", "▁ ab", "👍🏽\u200d👩❤️a ", "!?#$%^&*()_+=-~`[]{}\\|;:'\",.<>/ a"]


def texts(random_count):
    source = (HERE / "llama_spm.inp").read_bytes().decode()
    result = source.split("\n__ggml_vocab_test__\n") + ODD_TEXTS
    rng = random.Random(7)
    for i in range(random_count):
        if i % 3 == 0:
            planes = [(0x20, 0x7F), (0x80, 0x24F), (0x300, 0x530), (0x900, 0xDFF), (0x2000, 0x2BFF),
                      (0x3000, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1FAFF)]
            characters = [chr(rng.randint(*rng.choice(planes))) for _ in range(rng.randint(1, 40))]
        else:
            characters = rng.choices(rng.choice(ALPHABETS), k=rng.randint(1, 60))
        result.append("".join(characters))
    return result


def train_small(path):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False,
                                  limit_alphabet=60)
    tokenizer.train_from_iterator(
        ["Once upon a time there was a little girl who had a dog."] * 3 + texts(0), trainer)
    state = json.loads(tokenizer.to_str())
    vocab = state["model"]["vocab"]
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    path.write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")


def merge_patch(value, patch):
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for key, item in patch.items():
        if item is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), item)
    return result


def main():
    small = HERE / "small_metaspace.json"
    if not small.exists():
        train_small(small)
    all_texts = texts(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    variants = []
    for name, file, patch in VARIANTS:
        state = merge_patch(json.loads((HERE / file).read_text(encoding="utf-8")), patch)
        tokenizer = Tokenizer.from_str(json.dumps({"normalizer": None, "pre_tokenizer": None, **state}))
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in all_texts]
        variants.append({"name": name, "file": file, "patch": patch, "ids": ids})
    lines = ",\n".join(json.dumps(v, separators=(",", ":")) for v in variants)
    (HERE / "hf_vectors.json").write_text(
        '{"texts":' + json.dumps(all_texts) + ',\n"variants":[\n' + lines + "]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
