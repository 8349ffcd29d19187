"""Tiny causal language models of several kinds, written as folders: what tests use in place of a download."""

from __future__ import annotations

import torch

from text_samples import stories

END = "<|endoftext|>"
SIZES = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": None,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
KINDS = {
    "llama": {},
    "gpt2": {},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 8},
    "gpt_neox": {},
    "mistral": {"sliding_window": 64},
}


def folder_of(folder, kind="llama", begins=False, **chosen):
    """A tiny model with random weights, and a tokenizer of bytes and a few pairs, as transformers saves them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    marks = [END, "<s>"]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([row["text"] for row in stories(20, seed=5)], trainer)
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, bos_token="<s>")
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            config = AutoConfig.for_model(kind, **{**SIZES, **KINDS.get(kind, {}), **chosen})
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    finally:
        if bars:
            logging.enable_progress_bar()
    fast.save_pretrained(folder)
    return folder
