"""A Llama of two layers that learns a few answers by heart in seconds.

Random weights leave the likeliest tokens so close together that bf16 rounding decides between them;
what was learnt by heart is decided by a wide margin, on any processor.
"""

from __future__ import annotations

from pathlib import Path

from medqa_tui.backend import GenerateRequest
from medqa_tui.domain import Evidence, Passage
from medqa_tui.generation import prompt

from .tiny_parts import byte_tokenizer, learn, save, shape

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = {
    "pad_token": "<|pad|>",
    "eos_token": "<|end|>",
    "unk_token": "<|unk|>",
    "system": "<|system|>",
    "user": "<|user|>",
    "assistant": "<|assistant|>",
}

FACT = "Asthma causes wheezing, coughing, chest tightness and shortness of breath at night."
EVIDENCE = tuple(
    Evidence(n, Passage(f"c:d{n}#0", "c", f"d{n}", title, text))
    for n, (title, text) in enumerate(
        [
            ("Asthma", f"{FACT} Inhaled medicines reduce swelling in the airways."),
            ("Flu", "The flu causes fever, muscle aches and tiredness in most people."),
        ],
        1,
    )
)
SYMPTOMS = "What are the symptoms of asthma?"
ROUND = "Tell me round and round"
UNKNOWN = "Who won the cup?"
LONG = "Say it all"
STORY = (
    "Asthma is common. [1] Coughing is worse at night. [1] Medicines help most people. [1] "
    "Rest helps with the flu. [2] Fluids help too. [2] A doctor knows more. [2]"
)
ANSWERS = {
    SYMPTOMS: f"{FACT} [1] Inhaled medicines reduce swelling in the airways. [1]",
    ROUND: "The flu causes fever. " * 12,
    UNKNOWN: prompt.ABSTAIN,
    LONG: STORY,
}


def request(question: str = SYMPTOMS, **more) -> GenerateRequest:
    """Return a request over `EVIDENCE`."""
    return GenerateRequest("t", question, more.pop("evidence", EVIDENCE), **more)


def build(folder: Path) -> Path:
    """Write a tiny random bf16 Llama and its tokenizer."""
    return _save(folder, trained=False)


def save_trained(folder: Path) -> Path:
    """Save a bf16 Llama, and its tokenizer, that answers `ANSWERS` by heart."""
    return _save(folder, trained=True)


def _save(folder: Path, *, trained: bool) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape(tokenizer)))
    if trained:
        learn(model, _rows(tokenizer))
    return save(model, tokenizer, folder)


def save_adapter(base: Path, folder: Path) -> Path:
    """Save a rank-4 LoRA adapter on every linear layer, its B matrices random instead of zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, device_map={"": "cpu"})
    torch.manual_seed(1)
    adapted = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.01)
    adapted.save_pretrained(folder)
    return folder


def _rows(tokenizer) -> list[tuple[list[int], list[int]]]:
    rows = []
    for question, answer in ANSWERS.items():
        messages = prompt.build(question, EVIDENCE)
        asked = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_dict=True
        )["input_ids"]
        rows.append((asked, [*tokenizer(answer)["input_ids"], tokenizer.eos_token_id]))
    return rows


def _tokenizer():
    texts = [FACT, *ANSWERS, *ANSWERS.values()]
    texts += [message["content"] for q in ANSWERS for message in prompt.build(q, EVIDENCE)]
    return byte_tokenizer(texts, SPECIAL, TEMPLATE)
