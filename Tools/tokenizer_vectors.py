#!/usr/bin/env python3
"""Makes small tokenizers of each kind with Hugging Face's tokenizers, and what they do with texts.

    pip install tokenizers
    Tools/tokenizer_vectors.py Tests/Vectors/tokenizers
"""
import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

CORPUS = [path.read_text() for path in sorted(pathlib.Path("docs").rglob("*.md"))] + [
    "Grüße aus Köln, naïve façade; Ελληνικά και русский язык. 東京は日本の首都です。",
    "I'm sure you'll say they've done 1234567 things, it'S fine.\n\n\tdone = True\r\n",
]
TEXTS = [
    "", " ", "a", "Hello, world!", "  two  spaces   three ", "I'm HE'LL we'VE don't", "12345 1 22 333",
    "line\nnext\n\n\nlast\r\n\ttab", "Grüße Ελληνικά русский 東京", "e\u0301 é \u212b Å", "👍🏽 👨‍👩‍👧 flags 🇩🇪",
    "<s>inside</s> and <|end_of_text|>after", " <pad> stripped <pad>  x", "\u0000\u0001\u007f", "x" * 200,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "quantize quantizes quantized blocks", "٣٤٥ ½ Ⅷ", "\u2581mark\u2581",
]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+")


def trained(model, normalizer, splitter, decoder, special, alphabet, **options):
    tokenizer = Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if splitter:
        tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoder
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False, **options)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def with_model(tokenizer, **members):
    """The tokenizer with members of its model set, which the trainer does not keep."""
    content = json.loads(tokenizer.to_str())
    content["model"].update(members)
    return Tokenizer.from_str(json.dumps(content))


def tokenizers():
    byte_alphabet = pre_tokenizers.ByteLevel.alphabet()
    llama3 = trained(
        models.BPE(), None,
        pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
        decoders.ByteLevel(), ["<|begin_of_text|>", "<|end_of_text|>"], byte_alphabet)
    llama3.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(
            single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])])
    llama3.add_tokens([AddedToken("<pad>", lstrip=True, rstrip=True, special=True)])
    yield "llama3", with_model(llama3, ignore_merges=True)

    gpt2 = trained(
        models.BPE(), None,
        pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        decoders.ByteLevel(), ["<s>", "</s>"], byte_alphabet)
    gpt2.add_tokens(["quantize"])
    yield "gpt2", gpt2

    # As converted from SentencePiece: no words, spaces as U+2581, bytes for unknown characters.
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    llama2 = trained(
        models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True), None,
        pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always"),
        decoders.Sequence([
            decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
            decoders.Strip(" ", 1, 0)]),
        ["<unk>", "<s>", "</s>"] + bytes_, [], limit_alphabet=80)
    content = json.loads(llama2.to_str())
    content["pre_tokenizer"] = None
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < 3]
    llama2 = Tokenizer.from_str(json.dumps(content))
    llama2.normalizer = normalizers.Sequence([
        normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    llama2.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    yield "llama2", llama2

    metaspace = trained(
        models.BPE(unk_token="<unk>", fuse_unk=True), None,
        pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(r"[.,;!?]"), "merged_with_previous"),
            pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first")]),
        decoders.Metaspace(replacement="\u2581", prepend_scheme="first"), ["<unk>", "<s>", "</s>"], [],
        limit_alphabet=60)
    yield "metaspace", metaspace


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, tokenizer in tokenizers():
        content = json.loads(tokenizer.to_str())
        (folder / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False))
        cases = []
        for text in TEXTS:
            ids = tokenizer.encode(text).ids
            cases.append({
                "text": text, "ids": ids, "plain": tokenizer.encode(text, add_special_tokens=False).ids,
                "decoded": tokenizer.decode(ids)})
        (folder / f"{name}.cases.json").write_text(json.dumps(cases, ensure_ascii=False))


main()
