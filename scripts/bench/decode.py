"""Reading and writing speed of the small model on the CPU: NF4, bf16, fp32, adapters, llama.cpp.

Every variant answers the same questions from the starter cards, with the program's own prompt,
greedily, one after another in a process of its own. The bf16 and fp32 weights are the NF4 ones
unpacked; a merged adapter is added to those, and for NF4 quantized again. llama.cpp reads the
very same prompt tokens. The folder in MEDQA_HOME must be set up: its index finds the evidence.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from _common import cores, home, installed, machine, megabytes, note, parser, report, table
from _decode_child import Draft, Job

_LOOKUP = 10
_LLAMA = "llama.cpp"


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to run the model.

    Attributes:
        weights: As `Job.kind`.
        adapter: Whether the adapter is attached, not merged.
        lookup: Whether prompt-lookup decoding is on.
    """

    weights: str
    adapter: bool = False
    lookup: bool = False

    @property
    def name(self) -> str:
        parts = (self.weights, "adapter" * self.adapter, "lookup" * self.lookup)
        return "+".join(part for part in parts if part)

    @property
    def tuned(self) -> bool:
        """Whether it speaks as the adapter taught it, attached or merged."""
        return self.adapter or self.weights.startswith("merged")


def _both(weights: str, *, adapter: bool = False) -> tuple[Variant, Variant]:
    return Variant(weights, adapter), Variant(weights, adapter, lookup=True)


VARIANTS = {
    variant.name: variant
    for variant in (
        *(v for w in ("nf4", "bf16", "fp32") for v in _both(w)),
        Variant(_LLAMA),
        *(v for w in ("nf4", "bf16", "fp32") for v in _both(w, adapter=True)),
        *(v for w in ("merged-nf4", "merged-bf16") for v in _both(w)),
    )
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one variant took: seconds, bytes, and its answers."""

    load_s: float
    loaded: int
    peak: int
    drafts: tuple[Draft, ...]

    @classmethod
    def of(cls, row: dict[str, Any]) -> Measured:
        """Read what a child wrote."""
        drafts = tuple(Draft(**draft) for draft in row["drafts"])
        return cls(row["load_s"], row["loaded"], row["peak"], drafts)

    @property
    def seconds(self) -> float:
        return statistics.median(draft.total_s for draft in self.drafts)

    @property
    def rate(self) -> float:
        """Tokens a second, prefill included."""
        return statistics.median(draft.completion / draft.total_s for draft in self.drafts)

    @property
    def prefill(self) -> float:
        """Prompt tokens a second, up to the first token."""
        return statistics.median(draft.prompt / draft.first_s for draft in self.drafts)

    @property
    def decode(self) -> float:
        """Tokens a second after the first one."""
        rates = [
            (draft.completion - 1) / (draft.total_s - draft.first_s)
            for draft in self.drafts
            if draft.completion > 1 and draft.total_s > draft.first_s
        ]
        return statistics.median(rates) if rates else 0.0


# -- the children -------------------------------------------------------------------------------


def run(job: Job) -> dict[str, Any] | None:
    """Run one child and return what it wrote, or None if it failed; its words are on stderr."""
    given, out = Path(job.work) / "job.json", Path(job.work) / "result.json"
    given.write_text(json.dumps(asdict(job)), encoding="utf-8")
    script = Path(__file__).with_name("_decode_child.py")
    done = subprocess.run([sys.executable, str(script), str(given), str(out)], check=False)
    if done.returncode:
        return None
    result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return result


def wanted(chosen: argparse.Namespace) -> list[Variant]:
    """Return the variants that can be run here, saying why others cannot."""
    found = []
    for variant in (VARIANTS[name] for name in chosen.variants):
        if variant.tuned and chosen.adapter is None:
            note(f"{variant.name} is left out: no --adapter was given.")
        elif variant.weights == _LLAMA and chosen.gguf is None:
            note(f"{variant.name} is left out: no --gguf was given.")
        elif variant.weights == _LLAMA and importlib.util.find_spec("xllamacpp") is None:
            note(f"{variant.name} is left out; it needs: pip install xllamacpp")
        else:
            found.append(variant)
    return found


def job_of(variant: Variant, base: Job, adapter: Path | None, gguf: Path | None) -> Job:
    """Return the job that measures `variant`."""
    return replace(
        base,
        kind=variant.weights,
        adapter=str(adapter) if variant.adapter else "",
        gguf=str(gguf) if variant.weights == _LLAMA else "",
        lookup=_LOOKUP if variant.lookup else 0,
    )


# -- the figures --------------------------------------------------------------------------------


def agreement(drafts: tuple[Draft, ...], reference: tuple[Draft, ...]) -> tuple[int, float]:
    """Return how many texts are the same, and the mean share of tokens before they part."""
    shares = []
    for mine, theirs in zip(drafts, reference, strict=True):
        longest = max(len(mine.ids), len(theirs.ids), 1)
        pairs = zip(mine.ids, theirs.ids, strict=False)
        apart = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        same = min(len(mine.ids), len(theirs.ids)) if apart is None else apart
        shares.append(same / longest if mine.text != theirs.text else 1.0)
    same_texts = sum(a.text == b.text for a, b in zip(drafts, reference, strict=True))
    return same_texts, statistics.mean(shares)


def rows(measured: dict[str, Measured]) -> list[list[str]]:
    """Return the table's rows; texts are compared with the first variant of the same teaching."""
    first = next(iter(measured.values()))
    references: dict[bool, tuple[Draft, ...]] = {}
    made = []
    for name, it in measured.items():
        reference = references.setdefault(VARIANTS[name].tuned, it.drafts)
        same, share = agreement(it.drafts, reference)
        made.append(
            [
                name,
                f"{it.seconds:.2f}",
                f"{first.seconds / it.seconds:.2f}",
                f"{it.rate:.1f}",
                f"{it.prefill:.0f}",
                f"{it.decode:.1f}",
                f"{statistics.median(d.completion for d in it.drafts):.0f}",
                megabytes(it.loaded),
                megabytes(it.peak),
                "reference" if reference is it.drafts else f"{same} of {len(it.drafts)}",
                f"{share:.0%}",
            ]
        )
    return made


_HEADERS = (
    "variant",
    "s an answer",
    "times as fast as the first",
    "tokens/s, prefill included",
    "prefill tokens/s",
    "decode tokens/s",
    "tokens out",
    "memory, loaded",
    "memory, peak",
    "same text",
    "same tokens until they part",
)


def main() -> None:
    chosen = _options().parse_args()
    home()
    on = machine("torch", "transformers", "bitsandbytes", "peft", "xllamacpp")
    model = chosen.model or _active_model()
    variants = wanted(chosen)
    if not variants:
        raise SystemExit("No variant is left to measure.")
    measured: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="medqa-bench-") as folder:
        base = Job(
            "prepare",
            folder,
            str(model),
            adapter=str(chosen.adapter or ""),
            prompts=chosen.prompts,
            passages=chosen.passages,
            new_tokens=chosen.new_tokens,
            threads=chosen.threads,
        )
        note("preparing prompts and weights")
        defaults = run(base)
        if defaults is None:
            raise SystemExit("The prompts and weights could not be prepared.")
        for variant in variants:
            row = run(job_of(variant, base, chosen.adapter, chosen.gguf))
            if row is None:
                # What the others took is worth too much to be lost with it.
                note(f"{variant.name} failed and is left out.")
                continue
            it = Measured.of(row)
            measured[variant.name] = it
            note(f"{variant.name}: {it.seconds:.2f} s an answer, loaded in {it.load_s:.1f} s")
    if not measured:
        raise SystemExit("Nothing was measured.")
    prompts = {name: [draft.prompt for draft in it.drafts] for name, it in measured.items()}
    lengths = next(iter(prompts.values()))
    if any(other != lengths for other in prompts.values()):
        note("The variants did not read prompts of the same lengths; compare them with care.")
    about = (
        f"Medians over {len(lengths)} prompts of {statistics.median(lengths):.0f} tokens "
        f"({min(lengths)} to {max(lengths)}), at most {chosen.new_tokens} tokens out, "
        f"{chosen.threads} threads (torch by itself takes {defaults['default_threads']})."
    )
    result = {name: asdict(it) for name, it in measured.items()}
    report("Decoding", on, [about, table(_HEADERS, rows(measured))], result, chosen.output)


def _options() -> argparse.ArgumentParser:
    options = parser(__doc__)
    options.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    options.add_argument("--prompts", type=int, default=20, help="how many questions")
    options.add_argument("--passages", type=int, default=3, help="passages in a prompt")
    options.add_argument("--new-tokens", type=int, default=48, help="longest answer, in tokens")
    options.add_argument("--threads", type=int, default=cores(), help="threads of every variant")
    options.add_argument("--model", type=Path, help="NF4 folder (default: the installed one)")
    options.add_argument("--adapter", type=Path, help="PEFT folder; without it, no adapter rows")
    options.add_argument("--gguf", type=Path, help="model file; without it, no llama.cpp row")
    return options


def _active_model() -> Path:
    paths, active = installed()
    return active.generator_dir(paths)


if __name__ == "__main__":
    main()
