"""What the tiny language models share: a tokenizer made here, learning by heart, adapters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

# The words a tokenizer learns when nothing else is given.
TEXTS = (
    "Medical question: What are the symptoms of asthma? Asthma causes wheezing, coughing, chest "
    "tightness and shortness of breath. The flu causes fever, muscle aches and tiredness. "
    "Inhaled medicines reduce swelling in the airways. Answer from the evidence: [1] [2] [3]",
)


def byte_tokenizer(
    texts: Iterable[str], special: Mapping[str, str], template: str, size: int = 600
):
    """Return a byte-level BPE tokenizer trained on `texts`, that renders chats by `template`.

    Args:
        special: The special tokens by role (`pad_token`, `eos_token`, `unk_token`, `bos_token`);
            other keys name further tokens that are never split.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=special.get("unk_token")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(dict.fromkeys(special.values())),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    roles = {role: token for role, token in special.items() if role.endswith("_token")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **roles)


def shape(tokenizer) -> dict[str, int | None]:
    """Return the sizes of a decoder of two layers, as the configurations of models name them."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def save(model, tokenizer, folder: Path) -> Path:
    """Save a model in bf16, with its tokenizer."""
    import torch

    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def learn(model, rows: Sequence[tuple[list[int], list[int]]], steps: int = 200) -> None:
    """Teach a causal model to continue each row's first ids by its second."""
    import torch

    batches = []
    for asked, said in rows:
        labels = [-100] * len(asked) + said
        batches.append({"input_ids": asked + said, "labels": labels})
    _fit(model, [{k: torch.tensor([v]) for k, v in batch.items()} for batch in batches], steps)


def learn_pairs(model, rows: Sequence[tuple[list[int], list[int]]], steps: int = 200) -> None:
    """Teach an encoder-decoder model to answer each row's first ids by its second."""
    import torch

    _fit(
        model,
        [{"input_ids": torch.tensor([a]), "labels": torch.tensor([b])} for a, b in rows],
        steps,
    )


def save_lora(
    base: Path,
    folder: Path,
    rank: int = 4,
    seed: int = 1,
    std: float = 0.01,
    base_id: str = "tests/tiny",
) -> Path:
    """Save a LoRA adapter on every linear layer, its B matrices random instead of zero.

    Args:
        base: A dense folder of the model, causal or encoder-decoder.
        base_id: The model's public id, that the adapter's configuration names.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    pairs = AutoConfig.from_pretrained(base).is_encoder_decoder
    kind = AutoModelForSeq2SeqLM if pairs else AutoModelForCausalLM
    model = kind.from_pretrained(base, device_map={"": "cpu"}, dtype=torch.float32)
    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules="all-linear",
        task_type="SEQ_2_SEQ_LM" if pairs else "CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=std)
    adapted.peft_config["default"].base_model_name_or_path = base_id
    adapted.save_pretrained(folder)
    return folder


def _fit(model, batches, steps: int) -> None:
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(steps):
        model(**batches[step % len(batches)]).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
