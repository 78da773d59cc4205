"""Every setting, its default and one sentence that says what it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_TRUTH = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}


def _word(value: object) -> object:
    """Return a truth value, as TOML or a person writes it, as the word that a choice takes."""
    text = str(value).strip().casefold()
    return _TRUTH.get(text, text) if isinstance(value, bool | str) else value


_Choice = Annotated[Literal["auto", "true", "false"], BeforeValidator(_word)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AnswerSettings(_Section):
    """[answer]"""

    generator: Literal["auto", "model", "extractive"] = Field(
        default="auto",
        description="Who answers: the model, quotes (extractive), or what the profile does best.",
    )
    evidence: _Choice = Field(
        default="auto",
        description="Answer from evidence; false asks the model's memory, auto as the profile is.",
    )
    max_new_tokens: int = Field(
        default=160, ge=16, le=4096, description="The longest an answer may get, in tokens."
    )
    temperature: float = Field(
        default=0.0,
        ge=0.0,
        le=2.0,
        description="0 always picks the likeliest token; higher is more varied.",
    )
    sample: _Choice = Field(
        default="auto",
        description="Draw tokens at random by the temperature; auto where it is above 0.",
    )
    beams: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Drafts that are compared; these do not stream. 0 leaves it to the profile.",
    )
    no_repeat_ngram: int = Field(
        default=-1,
        ge=-1,
        le=16,
        description="No run of so many tokens twice; 0 allows it, -1 leaves it to the profile.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the sampling, so that answers repeat.")
    prompt_lookup: int = Field(
        default=10,
        ge=0,
        le=64,
        description="Tokens copied ahead from the evidence a step; 0 turns it off.",
    )


class RetrievalSettings(_Section):
    """[retrieval]"""

    k: int = Field(default=5, ge=1, le=50, description="How many passages an answer may use.")
    mode: Literal["hybrid", "bm25", "dense"] = Field(
        default="hybrid", description="Which search arms take part."
    )
    pool: int = Field(
        default=50, ge=1, le=1000, description="How many passages each arm brings to fusion."
    )
    rerank: bool = Field(
        default=True, description="Re-rank with a cross-encoder where one is installed."
    )
    rerank_depth: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="How many passages are re-ranked; 0 chooses by device.",
    )
    fusion: Literal["scores", "rrf"] = Field(
        default="scores",
        description="How the two arms become one order: by weighted scores or by ranks.",
    )
    vectors: Literal["float32", "int8"] = Field(
        default="float32",
        description="How vectors are kept: whole, or rounded to a third of the memory.",
    )
    corpora: str = Field(
        default="",
        description='Corpora that are searched, all if empty: "a, b", or "profile = a, b; ...".',
    )

    def corpora_of(self, profile: str) -> tuple[str, ...]:
        """Return the names of the corpora that are switched on for `profile`; empty means all."""
        chosen = ""
        for entry in self.corpora.split(";"):
            name, equals, listed = entry.rpartition("=")
            if not equals and not chosen:
                chosen = listed
            elif name.strip() == profile:
                chosen = listed
                break
        return tuple(word.strip() for word in chosen.split(",") if word.strip())

    def with_corpora(self, profile: str, names: Sequence[str]) -> str:
        """Return `corpora` with `names` switched on for `profile`, and nothing else changed.

        Args:
            names: All corpora, also those that are added later, if it is empty.
        """
        entries = [each.strip() for each in self.corpora.split(";") if each.strip()]
        others = [each for each in entries if each.partition("=")[0].strip() != profile]
        everywhere = any("=" not in each for each in others)
        own = [f"{profile} = {', '.join(names)}".strip()] if names or everywhere else []
        return "; ".join([*others, *own])


class EngineSettings(_Section):
    """[engine]"""

    enabled: bool = Field(
        default=True, description="Keep the models in a background process between asks."
    )
    keep_alive: str = Field(
        default="5m",
        description='How long the engine waits without work: "30s", "5m", "0" or "forever".',
    )
    queue: int = Field(
        default=8, ge=1, le=256, description="How many answers may wait for the engine."
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        default="auto", description="Where the model runs."
    )
    threads: int = Field(default=0, ge=0, le=1024, description="CPU threads; 0 uses every core.")
    watchdog: float = Field(
        default=120.0,
        ge=0.0,
        le=86400.0,
        description="Seconds in which nothing moves until the engine is started anew; 0 is never.",
    )


class HistorySettings(_Section):
    """[history]"""

    enabled: bool = Field(default=True, description="Keep questions and answers on this machine.")
    retention_days: int = Field(
        default=0,
        ge=0,
        le=36500,
        description="After how many days they are deleted, pinned ones excepted; 0 is never.",
    )


class RemoteSettings(_Section):
    """[remote]"""

    url: str = Field(
        default="",
        description="Address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1.",
    )
    model: str = Field(default="", description="The model, as that server calls it.")
    confirmed: str = Field(
        default="",
        description="The address that questions may be sent to; setup asks, then sets it.",
    )


class SetupSettings(_Section):
    """[setup]"""

    auto: bool = Field(default=True, description="Let `ask` and the app install what is missing.")


class UiSettings(_Section):
    """[ui]"""

    theme: str = Field(default="medqa-dark", description="Theme of the full-screen app.")


class Settings(_Section):
    """All settings. Precedence: flag, then MEDQA_* environment, then config file, then default."""

    profile: str = Field(default="starter", description="Which models answer.")
    offline: bool = Field(
        default=False, description="Never open a network connection, not even for setup."
    )
    answer: AnswerSettings = AnswerSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    engine: EngineSettings = EngineSettings()
    history: HistorySettings = HistorySettings()
    remote: RemoteSettings = RemoteSettings()
    setup: SetupSettings = SetupSettings()
    ui: UiSettings = UiSettings()
