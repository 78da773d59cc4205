"""Train the starter adapter: LoRA on SmolLM2-135M-Instruct in NF4, loss on the answer alone.

    python scripts/starter_adapter/train.py --data DATA --base FOLDER --output FOLDER

DATA holds MedQuAD, its split and the held-out topics; FOLDER of --base is the quantized model that
`medqa-tui setup` saved. Every option of the run is in `Run`, and goes into the adapter's card.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medqa_tui.offline import go_offline

go_offline()

import torch
from examples import Example, quoted, read_examples, split_hash, thinned, varied
from peft import LoraConfig, get_peft_model
from torch.utils.data import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    set_seed,
)

from medqa_tui.generation import prompt

HERE = Path(__file__).resolve().parent
IGNORED = -100
WIDTH = 64


@dataclass(frozen=True, slots=True)
class Run:
    """The settings of one training run."""

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    learning_rate: float = 6e-4
    epochs: float = 2.0
    batch: int = 4
    warmup: float = 0.06
    weight_decay: float = 0.01
    max_tokens: int = 640
    validation: int = 24
    seed: int = 0


class Encoded(Dataset[dict[str, list[int]]]):
    """Token ids of prompt and answer, and where the answer begins."""

    def __init__(self, examples: list[Example], tokenizer: Any, max_tokens: int) -> None:
        self.rows = [encode(example, tokenizer) for example in examples]
        too_long = [
            len(row["input_ids"]) for row in self.rows if len(row["input_ids"]) > max_tokens
        ]
        if too_long:
            raise SystemExit(f"{len(too_long)} examples are longer than {max_tokens} tokens")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self.rows[index]


def encode(example: Example, tokenizer: Any) -> dict[str, list[int]]:
    """Return ids and labels of one example; the answer ends with the end-of-turn token."""
    messages = list(prompt.build(example.question, example.evidence))
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    head: list[int] = asked["input_ids"]
    tail: list[int] = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
    tail = [*tail, tokenizer.eos_token_id]
    return {"input_ids": head + tail, "labels": [IGNORED] * len(head) + tail}


def collate(rows: list[dict[str, list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Pad on the right, to a multiple of 64 tokens.

    Attention is causal, so what follows an answer changes nothing before it and no mask is needed;
    few different widths let the CPU's matrix kernels be prepared once. Both matter: with masks and
    ragged widths a step was ten times slower.
    """
    width = -(-max(len(row["input_ids"]) for row in rows) // WIDTH) * WIDTH
    return {
        "input_ids": torch.tensor(
            [row["input_ids"] + [pad] * (width - len(row["input_ids"])) for row in rows]
        ),
        "labels": torch.tensor(
            [row["labels"] + [IGNORED] * (width - len(row["labels"])) for row in rows]
        ),
    }


class AnswerTrainer(Trainer):
    """Computes logits only where there is an answer to learn."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        labels = inputs["labels"][:, 1:]
        learnt = labels != IGNORED
        causal = model.get_base_model()
        hidden = causal.model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
        logits = causal.lm_head(hidden[:, :-1][learnt]).float()
        loss = torch.nn.functional.cross_entropy(logits, labels[learnt])
        return (loss, {"logits": logits}) if return_outputs else loss


def validation_loss(trainer: AnswerTrainer, rows: Encoded, pad: int) -> float:
    """Return the mean loss of `rows`, without ever leaving training mode.

    On a CPU with bf16 instructions bitsandbytes repacks 4-bit weights the first time they are used
    in evaluation mode, and the repacked kernel has no gradient: after a `model.eval()` before
    training nothing below a layer would learn. The model has no dropout of its own.
    """
    model = trainer.model
    model.train()
    losses = []
    with torch.no_grad():
        for at in range(0, len(rows), 8):
            batch = collate(rows.rows[at : at + 8], pad)
            losses.append(float(trainer.compute_loss(model, batch)))
    return sum(losses) / len(losses)


def require_gradients(model: Any) -> None:
    """Stop if a 4-bit layer was repacked for inference, since it would pass no gradient on."""
    for name, module in model.named_modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if getattr(state, "packing_format_for_cpu", False):
            raise SystemExit(f"{name} was repacked for inference; it cannot be trained through")


def train(run: Run, examples: list[Example], base: Path, output: Path) -> dict[str, Any]:
    """Train and save; return what the card says of the run."""
    set_seed(run.seed)
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.bfloat16, device_map={"": "cpu"}, local_files_only=True
    )
    model.config.use_cache = False
    config = LoraConfig(
        r=run.rank,
        lora_alpha=run.alpha,
        lora_dropout=run.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    random.Random(run.seed).shuffle(examples)
    held, kept = examples[: run.validation], examples[run.validation :]
    data = Encoded(kept, tokenizer, run.max_tokens)
    checks = Encoded(held, tokenizer, run.max_tokens)
    steps = int(len(data) * run.epochs / run.batch)
    arguments = TrainingArguments(
        output_dir=str(output / "checkpoints"),
        num_train_epochs=run.epochs,
        per_device_train_batch_size=run.batch,
        learning_rate=run.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(steps * run.warmup),
        weight_decay=run.weight_decay,
        train_sampling_strategy="group_by_length",
        logging_steps=5,
        save_strategy="epoch",
        save_total_limit=1,
        report_to=[],
        seed=run.seed,
        use_cpu=True,
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    trainer = AnswerTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=lambda rows: collate(rows, tokenizer.pad_token_id),
    )
    before = validation_loss(trainer, checks, tokenizer.pad_token_id)
    print(f"validation loss before: {before:.3f}", flush=True)
    require_gradients(model)
    began = time.perf_counter()
    trainer.train()
    require_gradients(model)
    seconds = time.perf_counter() - began
    after = validation_loss(trainer, checks, tokenizer.pad_token_id)
    tokens = sum(len(row["input_ids"]) for row in data.rows)
    save(model, output)
    return {
        "examples": len(data),
        "validation_examples": len(checks),
        "tokens_per_epoch": tokens,
        "seconds": round(seconds),
        "tokens_per_second": round(tokens * run.epochs / seconds),
        "validation_loss_before": round(before, 3),
        "validation_loss_after": round(after, 3),
        "log": trainer.state.log_history,
    }


def save(model: Any, output: Path) -> None:
    """Save the adapter in bf16, which halves it and changes no answer's rounding."""
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(torch.bfloat16)
    model.save_pretrained(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with MedQuAD")
    parser.add_argument("--base", type=Path, required=True, help="the quantized base model")
    parser.add_argument("--output", type=Path, required=True, help="where the adapter goes")
    parser.add_argument("--targets", type=Path, default=HERE / "targets.jsonl")
    parser.add_argument("--quote", action="store_true", help="learn to quote, not to rewrite")
    parser.add_argument(
        "--near", type=float, default=1.0, help="with --quote: keep what is this near its source"
    )
    parser.add_argument("--vary", action="store_true", help="evidence of more kinds")
    parser.add_argument("--abstaining", type=int, default=10_000, help="at most so many abstain")
    parser.add_argument("--dry-run", action="store_true", help="check the data and stop")
    for name, value in asdict(Run()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = parser.parse_args()
    run = Run(**{name: getattr(options, name) for name in asdict(Run())})
    examples = thinned(read_examples(options.targets, options.data), options.abstaining, run.seed)
    if options.quote:
        examples = [quoted(example, options.near) for example in examples]
    if options.vary:
        examples = varied(examples, options.data, run.seed)
    abstaining = sum(example.answer == prompt.ABSTAIN for example in examples)
    print(f"{len(examples)} examples, {abstaining} of them abstain", flush=True)
    if options.dry_run:
        return
    report = train(run, examples, options.base, options.output)
    report |= {
        "settings": asdict(run),
        "template_hash": prompt.template_hash(),
        "split_sha256": split_hash(options.data),
        "abstaining": abstaining,
        "quote": options.quote,
        "near": options.near,
        "vary": options.vary,
    }
    (options.output / "run.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(json.dumps({k: v for k, v in report.items() if k != "log"}, indent=1))


if __name__ == "__main__":
    main()
