"""What a long message asks, by rules: its story drowns the question in a search for nearness."""

from __future__ import annotations

import math
import re
from collections import Counter

from medqa_tui.retrieval import terms

LONG = 300
"""Characters from which a message is a story. Sixteen of 1,500 characters, which begin with other
things as letters do, all found their card and passed the gate by what they ask; as they are, four
passed, since an embedder reads 256 word pieces and makes one point of them all."""

MOST_QUESTIONS = 2
MOST_STORY = 2
_ENOUGH_WORDS = 2
_LONG_SENTENCE = 200
# Keeps a short sentence from winning by its shortness alone.
_SENTENCE_WORDS = 8

_END = re.compile(r"(?<=[.!?\u2026])[\"')\]]*\s+|\s*\n+\s*")
_LEAD = (
    r"(?:(?:so|and|but|well|ok|okay|please|anyway|now|also|or|hi|hello|doctor|thanks|basically"
    r"|(?:(?:can|could) (?:you|anyone) )?(?:please )?tell me|my question is"
    r"|i wonder|i am wondering|i'm wondering|wondering)[\s,:]+)*"
)
_HELPER = (
    r"(?:is|are|was|can|could|should|shall|do|does|did|will|would|may|might|must|causes?|helps?)"
)
_ASKS = re.compile(
    rf"^{_LEAD}(?:"
    rf"(?:what|how|why|when|where|which|who)(?:\s+\w+)?\s+{_HELPER}\b"
    rf"|(?:what|how|why|who)(?:'s|\s+to|\s+about)\b"
    rf"|{_HELPER}\s+(?:it|this|that|there|these|i|you|we|he|she|they|my|our|the|any\w*)\b"
    r"|any(?:one|body)?\s+(?:advice|ideas?|tips?|know|suggestions?)\b"
    r"|(?:i|we)\s+(?:just\s+|only\s+|really\s+)?(?:want|need|would\s+like|'d\s+like)\s+to\s+know\b"
    r"|(?:if|whether)\s+(?:it|this|that|i|he|she)\b"
    r")",
    re.IGNORECASE,
)
# Where a question begins inside a sentence that never ends.
_BEGINS = re.compile(
    rf"\b(?:what|how|why|when|which|should|could|can)\s+(?:\w+\s+)?{_HELPER}\b"
    r"|\bhow\s+to\b|\b(?:should|could|can|do)\s+(?:i|we|he|she|it|this)\b",
    re.IGNORECASE,
)
# Where a story without full stops goes on to the next thing.
_NEXT = re.compile(
    r"\s+(?=(?:and|but|so|because|then)\s+(?:i|my|it|we|he|she|they|the|this|now|what|how)\b)",
    re.IGNORECASE,
)
_POINTS = re.compile(r"\b(?:it|this|that|these|those|they|them)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;:.!?\n]|\b(?:but|although|though|except)\b", re.IGNORECASE)
_DENIED = re.compile(
    r"\b(?:no|not|never|without|nor|neither|cannot|\w+n['\u2019]t|(?:do|does|did|has|have|was)nt)\b.*",
    re.IGNORECASE | re.DOTALL,
)

# Parts of the body and what goes wrong with them, as lay people write it: they mark the sentences
# of a story that say what it is about.
_HEALTH_WORDS = """
abdomen abdominal acne ache aching allergic allergy ankle antibiotic anxiety anxious appetite arm
armpit arthritis asthma baby belly birth bladder bleed blister bloated bloating blood blurred
blurry bowel breast breastbone breath breathe breathing breathless bronchitis bruise bump burning
burp calf cancer chest chill cholesterol clot cold constipated constipation contraction cough
coughing cramp cry dehydrated depressed depression diabetes diabetic diarrhea diarrhoea discharge
dizziness dizzy ear eczema elbow exhausted eyesight faint fainted fatigue fever feverish finger flu
foot forehead gland gout groin gum hayfever headache heartbeat heartburn heel hip hive hoarse hurt
hypertension infected infection inflamed insulin iron insomnia itch itching itchy jaw joint kidney
knee leg limp liver lump lung mammogram menopause migraine miscarriage mole mouth mucus muscle
nausea nauseous neck nose numb numbness overweight pain painful palpitation pale panic pee period
phlegm pimple pneumonia poo poop pregnancy pregnant pressure prostate pulse pus rash red redness
reflux rib salt scaly scalp seizure shivering shoulder sinus skin sleep sleepless smear sneeze
snore sore sour sperm spine spot sprain sprained stiff stomach stool stroke sugar sunburn sweat
sweating swell swelled swelling swollen tearful temperature testicle thirst thirsty throat
throbbing thumb thyroid tired toe tongue tonsil tooth toothache tremble tremor ulcer unconscious
urinate urination urine uterus vagina vein vertigo virus vision vomit vomiting wart weakness weepy
wheeze wheezing wheezy womb wound wrist yeast zigzag
"""
_HEALTH = frozenset(_HEALTH_WORDS.split())
_IRREGULAR = {"feet": "foot", "teeth": "tooth", "babies": "baby", "calves": "calf"}
_MEDICAL = re.compile(r"\w{3,}(?:itis|osis|emia|aemia|algia|pathy|uria|oma|plegia|rrhea|rrhoea)$")


def focus(text: str) -> str:
    """Return what a long message asks, with the sentences that say what about; a short one as is.

    A message without a question and without one word of health is left alone too.
    """
    if len(text) <= LONG:
        return text
    sentences = [part for ended in _END.split(text) for part in _parts(ended.strip())]
    asked = _questions(sentences)
    question = " ".join(_marked(_cut(one)) for one in asked)
    if len(set(_health(question))) >= _ENOUGH_WORDS and not _POINTS.search(question):
        return question
    # Of a sentence that never ends, what stands before its question is the story.
    rest = [one.removesuffix(_cut(one)) if one in asked else one for one in sentences]
    return " ".join([question, *_story(rest)]).strip() or text


def _parts(sentence: str) -> list[str]:
    if len(sentence) <= 2 * _LONG_SENTENCE:
        return [sentence] if sentence else []
    return _NEXT.split(sentence)


def _marked(question: str) -> str:
    return question if question[-1:] in ".?!" else f"{question}?"


def _questions(sentences: list[str]) -> list[str]:
    """Return the last sentences that ask something, in order."""
    marked = [one for one in sentences if one.rstrip("\"')] ").endswith("?")]
    found = marked or [one for one in sentences if _ASKS.match(one)] or _unended(sentences[-1:])
    clear = [one for one in found if terms.topic_words(one)] or found
    return clear[-MOST_QUESTIONS:]


def _unended(sentences: list[str]) -> list[str]:
    return [one for one in sentences if len(one) > _LONG_SENTENCE and _BEGINS.search(one)]


def _cut(sentence: str) -> str:
    """Return the question at the end of a sentence that has a story before it."""
    if len(sentence) <= _LONG_SENTENCE:
        return sentence
    starts = [match.start() for match in _BEGINS.finditer(sentence)]
    return sentence[starts[-1] :] if starts else sentence[-_LONG_SENTENCE:].partition(" ")[2]


def _story(sentences: list[str]) -> list[str]:
    """Return the sentences that hold most of the story's words of health, in order."""
    said = [set(_health(_affirmed(one))) for one in sentences]
    counts = Counter(word for words in said for word in words)

    def worth(place: int) -> float:
        length = len(terms.words(sentences[place])) + _SENTENCE_WORDS
        return sum(counts[word] for word in said[place]) / math.sqrt(length)

    places = sorted((place for place, words in enumerate(said) if words), key=worth, reverse=True)
    return [_shortened(sentences[place]) for place in sorted(places[:MOST_STORY])]


def _affirmed(sentence: str) -> str:
    """Return the sentence without what it denies: "no fever so far"."""
    return " ".join(_DENIED.sub("", clause) for clause in _CLAUSE.split(sentence))


def _shortened(sentence: str) -> str:
    if len(sentence) <= _LONG_SENTENCE:
        return sentence
    clauses = [one.strip() for one in _CLAUSE.split(sentence) if one and _health(_affirmed(one))]
    return f"{', '.join(clauses)[:_LONG_SENTENCE].rpartition(' ')[0]}."


def _health(text: str) -> list[str]:
    found = (_singular(word) for word in terms.words(text))
    return [word for word in found if word in _HEALTH or _MEDICAL.match(word)]


def _singular(word: str) -> str:
    if word in _HEALTH:
        return word
    for ending in ("s", "es", "ing", "ed"):
        if word.removesuffix(ending) in _HEALTH:
            return word.removesuffix(ending)
    return _IRREGULAR.get(word, word)
