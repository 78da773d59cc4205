"""Training a reranker: LoRA and a score head on an encoder, with transformers' Trainer and peft."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    set_seed,
)

from medqa_tui.retrieval.embedder import best_dtype, quiet_transformers
from medqa_tui.retrieval.reranker import encode_pairs
from medqa_tui.training.arguments import arguments
from medqa_tui.training.groups import Group
from medqa_tui.training.job import fitting
from medqa_tui.training.presets import RerankPreset
from medqa_tui.training.progress import Stopped, TrainEvent
from medqa_tui.training.watching import CHECKPOINTS, Best, Watch, last_checkpoint

ADAPTER = "default"
_LOG_EVERY = 10


class Groups(Dataset[Group]):
    """Groups in the order in which they are learnt."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> Group:
        return self._groups[index]


@dataclass(frozen=True, slots=True)
class Collate:
    """Turns groups into one padded batch of pairs."""

    tokenizer: Any
    max_tokens: int

    def __call__(self, groups: list[Group]) -> dict[str, torch.Tensor]:
        queries = [group.query for group in groups for _ in group.texts]
        texts = [text for group in groups for text in group.texts]
        batch = dict(encode_pairs(self.tokenizer, queries, texts, self.max_tokens))
        batch["retrieved"] = torch.tensor([group.scores for group in groups])
        return batch


class ListwiseTrainer(Trainer):  # type: ignore[misc]
    """Learns to put the first passage of each group above the others.

    The loss is the cross-entropy of a softmax over the group's scores (ListNet with one relevant
    passage: Cao et al., ICML 2007), half of it with the scaled retrieval scores added.
    """

    def __init__(self, preset: RerankPreset, **rest: Any) -> None:
        super().__init__(**rest)
        self._preset = preset

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        loss = listwise_loss(model, inputs, self._preset.retrieval_scale)
        return (loss, {}) if return_outputs else loss

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        """Give the head, which begins at random, a learning rate of its own."""
        if getattr(self, "optimizer", None) is None:
            named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
            head = [p for n, p in named if "lora_" not in n]
            lora: list[Any] = [p for n, p in named if "lora_" in n]
            groups: list[dict[str, Any]] = [
                {"params": lora},
                {"params": head, "lr": self._preset.head_learning_rate},
            ]
            self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
                groups,
                lr=self._preset.learning_rate,
                weight_decay=self._preset.weight_decay,
            )
        return self.optimizer


def listwise_loss(
    model: Any, inputs: Mapping[str, torch.Tensor], retrieval_scale: float
) -> torch.Tensor:
    """Return the mean loss of a batch's groups, whose right passages stand first."""
    rest = dict(inputs)
    retrieved = rest.pop("retrieved")
    scores = model(**rest).logits.float().view(retrieved.shape)
    first = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
    alone = functional.cross_entropy(scores, first)
    fused = scores + retrieval_scale * retrieved
    return (alone + functional.cross_entropy(fused, first)) / 2


def mean_loss(model: Any, groups: Sequence[Group], collate: Collate, scale: float) -> float:
    """Return the mean loss of groups of any size; there is no dropout to leave out."""
    device = next(model.parameters()).device
    total = 0.0
    with torch.no_grad():
        for group in groups:
            batch = {name: value.to(device) for name, value in collate([group]).items()}
            total += float(listwise_loss(model, batch, scale))
    return total / len(groups)


def build_model(base: Path, preset: RerankPreset, device: str) -> Any:
    """Return the encoder in `base` with a new score head and untrained LoRA layers.

    The frozen weights are bf16 where the device computes in it; what is learnt is float32. There
    is no dropout: a run this short does not overfit, and random masks keep a CPU from its fast
    attention.
    """
    quiet_transformers()
    set_seed(preset.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        base,
        num_labels=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        dtype=best_dtype(device),
        local_files_only=True,
    )
    config = LoraConfig(
        r=preset.rank,
        lora_alpha=preset.alpha,
        target_modules="all-linear",
        task_type="SEQ_CLS",
        modules_to_save=["classifier"],
    )
    model = get_peft_model(model, config, autocast_adapter_dtype=False)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    train_merged(model)
    return model.to(device)


def train_merged(model: Any) -> None:
    """Make each LoRA layer multiply by the sum of its weights, which is as exact and faster.

    A small matrix product over every token costs a CPU more than adding two matrices once a step:
    a step of MiniLM took 4.3 s with LoRA beside the weights, and 3.0 s with it inside them.
    """
    from peft.tuners.lora import Linear

    def forward(layer: Any, inputs: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        weight, bias = layer.base_layer.weight, layer.base_layer.bias
        inside = weight.float() + layer.get_delta_weight(ADAPTER)
        return functional.linear(inputs, inside.to(inputs.dtype), bias)

    def score(head: Any, inputs: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        scores: torch.Tensor = head.modules_to_save[ADAPTER](inputs.float())
        return scores

    for module in model.modules():
        if isinstance(module, Linear):
            module.forward = partial(forward, module)
    head = model.base_model.model.classifier
    head.forward = partial(score, head)


@dataclass(slots=True)
class Run:
    """A trained model, and the losses on the way there.

    Attributes:
        validation: (step, mean loss of the groups kept out), where it was asked for.
    """

    model: Any
    tokenizer: Any
    losses: tuple[tuple[int, float], ...]
    validation: tuple[tuple[int, float], ...]
    seconds: float


def train(
    base: Path,
    groups: Sequence[Group],
    preset: RerankPreset,
    work: Path,
    *,
    device: str = "cpu",
    held: Sequence[Group] = (),
    looks: int = 0,
    resume: bool = False,
    on_event: Callable[[TrainEvent], None] = lambda event: None,
    cancel: threading.Event | None = None,
) -> Run:
    """Learn the groups in order, one batch of `preset.groups` a step.

    Args:
        work: Where checkpoints go; `resume` goes on from the last whole one there.
        held: Groups that measure the run `looks` times on its way, beside before and after it.

    Raises:
        Stopped: `cancel` was set; a checkpoint holds what was learnt.
        MedQAError: Memory ran out.
    """
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    model = build_model(base, preset, device)
    checkpoint = last_checkpoint(work) if resume else None
    if not resume:
        shutil.rmtree(work / CHECKPOINTS, ignore_errors=True)
    collate, scale = Collate(tokenizer, preset.max_tokens), preset.retrieval_scale
    best = Best(work, (lambda: mean_loss(model, held, collate, scale)) if held else None, 0)
    watch = Watch(
        on_event,
        cancel,
        best,
        tokens=[preset.groups * (preset.negatives + 1)] * preset.steps,
        accumulation=1,
        epoch_steps=max(1, -(-preset.steps // max(1, looks))),
        unit="pairs",
    )
    trainer = ListwiseTrainer(
        preset,
        model=model,
        args=_arguments(preset, work, device),
        train_dataset=Groups(groups),
        data_collator=collate,
        callbacks=[watch],
    )
    # Trainer's own printing would go to stdout.
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    began = time.monotonic()
    with fitting(f"{preset.groups} groups of {preset.negatives + 1} passages a batch."):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    losses = tuple(
        (int(entry["step"]), float(entry["loss"]))
        for entry in trainer.state.log_history
        if "loss" in entry
    )
    if cancel is not None and cancel.is_set() and trainer.state.global_step < preset.steps:
        raise Stopped(work)
    return Run(model, tokenizer, losses, tuple(best.history), time.monotonic() - began)


def _arguments(preset: RerankPreset, work: Path, device: str) -> TrainingArguments:
    return arguments(
        work,
        steps=preset.steps,
        warmup=preset.warmup,
        seed=preset.seed,
        device=device,
        per_device_train_batch_size=preset.groups,
        schedule=preset.schedule,
        max_grad_norm=1.0,
        logging_steps=_LOG_EVERY,
        save_steps=preset.checkpoint_steps,
    )


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step takes: seconds, and the memory of the process in bytes."""

    seconds: float
    memory: int


def measure_step(
    base: Path, groups: Sequence[Group], preset: RerankPreset, device: str
) -> StepCost:
    """Return what a step on the longest of the first groups costs; nothing is kept."""
    import psutil

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    model = build_model(base, preset, device).train()
    longest = sorted(groups[:200], key=lambda group: -sum(map(len, group.texts)))
    batch = Collate(tokenizer, preset.max_tokens)(longest[: preset.groups])
    batch.pop("retrieved")
    took = []
    # The first one prepares kernels and is not counted.
    for _ in range(3):
        began = time.monotonic()
        scores = model(**{name: value.to(device) for name, value in batch.items()}).logits
        scores.float().sum().backward()
        took.append(time.monotonic() - began)
    return StepCost(sum(took[1:]) / 2, int(psutil.Process().memory_info().rss))


def score_groups(
    run: Run, groups: Sequence[Group], max_tokens: int, batch: int = 32
) -> list[list[float]]:
    """Return the model's score of every passage of each group."""
    model = run.model.eval()
    device = next(model.parameters()).device
    pairs = [(group.query, text) for group in groups for text in group.texts]
    scores: list[float] = []
    with torch.inference_mode():
        for at in range(0, len(pairs), batch):
            queries, texts = zip(*pairs[at : at + batch], strict=True)
            inputs = encode_pairs(run.tokenizer, list(queries), list(texts), max_tokens)
            scores += model(**inputs.to(device)).logits.float()[:, 0].tolist()
    ends = iter(scores)
    return [[next(ends) for _ in group.texts] for group in groups]


def save(model: Any, folder: Path, base_id: str) -> None:
    """Save adapter and head in bf16, which halves them, under the base's public id.

    peft would write the path that the base was loaded from. The model keeps the rounded values.
    """
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learnt:
        parameter.data = parameter.data.to(torch.bfloat16)
    config = model.peft_config[ADAPTER]
    config.base_model_name_or_path = base_id
    config.inference_mode = True
    # The embeddings are the base's; asking for them would look for the base on the hub.
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    for parameter in learnt:
        parameter.data = parameter.data.float()
