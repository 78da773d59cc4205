"""What a corpus is read from: a built-in data set by its name, or files of one's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medqa_tui.corpus.columns import Columns
from medqa_tui.corpus.document import CHUNK_WORDS
from medqa_tui.models.catalog import HubSource

_PUBMED = "https://pubmed.ncbi.nlm.nih.gov/{}/"

PIPELINE = 1
"""Grows when the same source would give other passages, so that an update reads it again."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive of a public repository at one commit.

    Attributes:
        tree: Git's hash of the files at that commit, which says that all of them are right.
    """

    url: str
    commit: str
    tree: str


@dataclass(frozen=True, slots=True)
class Builtin:
    """A data set that is known by name.

    Attributes:
        credit: Whom each passage names, in short.
        date: ISO date of its text, as far as that is known.
        formats: The formats of the readers that its files have, in whichever form it comes.
        adapt: Turns a row of the original into columns with names that are known.
    """

    name: str
    title: str
    licence: str
    attribution: str
    credit: str
    homepage: str
    place: Archive | HubSource
    formats: tuple[str, ...] = ("json", "jsonl", "parquet")
    date: str | None = None
    adapt: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict


def _pubmedqa(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a labelled question with its abstract, in whichever of its public forms."""
    values = {str(key).lower(): value for key, value in row.items()}
    context = values.get("context")
    parts = context.get("contexts") if isinstance(context, Mapping) else values.get("contexts")
    pmid = values.get("pmid") or values.get("pubid") or values.get("_key") or values.get("id", "")
    conclusion = values.get("long_answer")
    return {
        "id": str(pmid).rpartition("/")[2],
        "question": values.get("question"),
        "answer": [*(parts or ()), *([conclusion] if conclusion else ())],
        "url": _PUBMED.format(str(pmid).rpartition("/")[2]),
        "source": f"PubMed {str(pmid).rpartition('/')[2]}",
        "date": values.get("year"),
    }


_MEDQUAD_COMMIT = "577bd37b96c02d1833b2c9eed2de9f96964e96cb"

BUILTINS = {
    each.name: each
    for each in (
        Builtin(
            name="medquad",
            title="MedQuAD: questions and answers of the US National Institutes of Health",
            licence="CC BY 4.0",
            attribution=(
                "A. Ben Abacha and D. Demner-Fushman, A Question-Entailment Approach to Question"
                " Answering, BMC Bioinformatics 20:511, 2019"
            ),
            credit="MedQuAD (Ben Abacha and Demner-Fushman, 2019)",
            homepage="https://github.com/abachaa/MedQuAD",
            place=Archive(
                f"https://github.com/abachaa/MedQuAD/archive/{_MEDQUAD_COMMIT}.zip",
                _MEDQUAD_COMMIT,
                "0e51034956585e1c9f66338dcb990529bff55607",
            ),
            formats=("medquad", "jsonl"),
            date="2017",
        ),
        Builtin(
            name="flashcards",
            title="Medical Meadow flashcards: questions of medical students' Anki cards",
            licence="CC (as its page says, without the kind)",
            attribution="T. Han et al., MedAlpaca, arXiv:2304.08247, 2023",
            credit="Medical Meadow flashcards (Han et al., 2023)",
            homepage=(
                "https://huggingface.co/datasets/medalpaca/medical_meadow_medical_flashcards"
            ),
            place=HubSource(
                "medalpaca/medical_meadow_medical_flashcards",
                allow=("*.json",),
                size=18_000_000,
                kind="dataset",
            ),
            date="2023",
        ),
        Builtin(
            name="pubmedqa",
            title="PubMedQA: questions with the abstracts that answer them",
            licence="MIT",
            attribution=(
                "Q. Jin et al., PubMedQA: A Dataset for Biomedical Research Question Answering,"
                " EMNLP-IJCNLP 2019"
            ),
            credit="PubMedQA (Jin et al., 2019)",
            homepage="https://huggingface.co/datasets/qiaojin/PubMedQA",
            place=HubSource(
                "qiaojin/PubMedQA",
                allow=("pqa_labeled/*.parquet",),
                size=1_075_513,
                kind="dataset",
            ),
            adapt=_pubmedqa,
        ),
    )
}
"""The data sets that can be added by name."""


@dataclass(frozen=True, slots=True)
class Source:
    """Everything that decides what a corpus holds, remembered with it.

    Attributes:
        path: The file or folder; None where the program fetches it.
        builtin: The name in `BUILTINS`, if it is one of them.
        format: A format of the readers; None goes by the files' endings.
        words: The most words of a passage.
    """

    path: Path | None = None
    builtin: str | None = None
    columns: Columns = field(default_factory=Columns)
    format: str | None = None
    encoding: str = ""
    keep_duplicates: bool = False
    words: int = CHUNK_WORDS

    def to_json(self) -> str:
        """Return it as JSON, with the version of what turns it into passages."""
        values = {**asdict(self), "columns": self.columns.told(), "pipeline": PIPELINE}
        values["path"] = str(self.path) if self.path else None
        return json.dumps(values, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Source:
        """Return what `to_json` wrote.

        Raises:
            ValueError: It is something else.
        """
        values = json.loads(text)
        try:
            values.pop("pipeline", None)
            path, columns = values.pop("path"), Columns(**values.pop("columns"))
            return cls(path=Path(path) if path else None, columns=columns, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(str(error)) from error
