"""What is replayed: conversations as lists of turns, from a file of texts or generated from a file of shapes.

A *shape* says who spoke and how many bytes of UTF-8 each message had; its text is made up here, deterministic
(the same shape gives the same text on every machine), Urdu and English mixed, of exactly that many bytes.

    {"conversations": [{"id": 1, "turns": [["client", 42], ["therapist", 7]]}]}          shapes
    {"conversations": [{"id": 1, "turns": [["client", "text"], ["therapist", "text"]]}]}  texts
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final

from clients.sdk.errors import MAX_TEXT_BYTES, UsageError, too_long
from clients.sdk.model import Role

WORDS: Final = (
    "میں", "آپ", "دل", "بات", "کرنا", "چاہتی", "رات", "نیند", "نہیں", "آتی", "گھر", "خاموشی", "بہت", "تھکن",
    "امید", "شکریہ", "سانس", "وقت", "کوشش", "آج", "کل", "ماں", "دوست", "ڈر", "سکون",
    "I", "feel", "since", "winter", "nobody", "listens", "slowly", "breathe", "mornings", "heavy", "remember",
    "perhaps", "together", "quiet", "afraid", "tomorrow", "work", "sister", "tired", "hope",
)  # fmt: skip
"""Short words of both scripts; what they say together has no meaning."""

SHORT_WORDS: Final = (
    "ok", "yes", "well", "maybe", "really", "perhaps", "sometime", "somewhere", "everything", "nevertheless",
)  # fmt: skip
"""By length, from 2 bytes to 10, then 12: they fill what is left of a text."""


def _filler(size: int) -> str:
    """Letters of exactly `size` bytes, readable where there is a word of that length."""
    fitting = [word for word in SHORT_WORDS if len(word) == size]
    return fitting[0] if fitting else "mm"[:size] if size <= 2 else "h" + "m" * (size - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message."""

    speaker: Role
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """All messages of one conversation, in order."""

    id: int
    turns: tuple[Turn, ...]

    def of(self, speaker: Role) -> list[str]:
        """The texts of one speaker, in order."""
        return [turn.text for turn in self.turns if turn.speaker is speaker]


def text_of_size(seed: str, size: int) -> str:
    """A text of exactly `size` bytes of UTF-8, always the same for the same seed and size."""
    chosen = random.Random(seed)
    parts: list[str] = []
    left = size
    while left > 0:
        word = chosen.choice(WORDS)
        cost = len(word.encode()) + (1 if parts else 0)
        if cost > left or left - cost == 1:  # a single byte left would have to be a lone space
            break
        parts.append(word)
        left -= cost
    text = " ".join(parts)
    if left > 0:
        letters = left - (1 if parts else 0)
        text += (" " if parts else "") + _filler(letters)
    return text


def _read(path: Path) -> list[tuple[int, list[tuple[Role, object]]]]:
    """The common frame of both formats.

    Raises:
        UsageError: The file is missing or not of the format; says what is wrong, and never its content.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is no JSON file in UTF-8.") from None
    form = 'want {"conversations": [{"id": 1, "turns": [["client", ...], ["therapist", ...]]}]}'
    try:
        conversations = [
            (int(entry["id"]), [(Role(turn[0]), turn[1]) for turn in entry["turns"] if _is_pair(turn)])
            for entry in document["conversations"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise UsageError(f"{path} is not of the format; {form}.") from None
    if not conversations:
        raise UsageError(f"{path} holds no conversation.")
    ids = [number for number, _ in conversations]
    if len(set(ids)) != len(ids):
        raise UsageError(f"{path} uses an id twice.")
    return conversations


def _is_pair(turn: object) -> bool:
    if isinstance(turn, list) and len(turn) == 2:
        return True
    raise ValueError("a turn has two parts")


def _checked(path: Path, number: int, place: int, text: str) -> str:
    """A text that a line and a session can carry."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise UsageError(
            f"{path}: conversation {number}, turn {place} is no valid Unicode (a lone surrogate)."
        ) from None
    if not text:
        raise UsageError(
            f"{path}: conversation {number}, turn {place} is empty; an empty text is never sent."
        )
    if size > MAX_TEXT_BYTES:
        raise UsageError(
            f"{path}: conversation {number}, turn {place} is {too_long(size - MAX_TEXT_BYTES)} "
            f"(at most {MAX_TEXT_BYTES:,} bytes of UTF-8)."
        )
    return text


def load_texts(path: Path) -> list[Conversation]:
    """Read a file of texts.

    Raises:
        UsageError: The file, or a text in it, cannot be replayed; says which.
    """
    loaded = []
    for number, turns in _read(path):
        checked = []
        for place, (speaker, text) in enumerate(turns, 1):
            if not isinstance(text, str):
                raise UsageError(f"{path}: conversation {number}, turn {place} is no text; want --shapes?")
            checked.append(Turn(speaker=speaker, text=_checked(path, number, place, text)))
        loaded.append(Conversation(id=number, turns=tuple(checked)))
    return loaded


def load_shapes(path: Path) -> list[Conversation]:
    """Read a file of shapes and make up a text for each.

    Raises:
        UsageError: The file cannot be replayed; says why.
    """
    loaded = []
    for number, turns in _read(path):
        made = []
        for place, (speaker, size) in enumerate(turns, 1):
            if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_TEXT_BYTES:
                raise UsageError(
                    f"{path}: conversation {number}, turn {place} is no number of bytes from 1 to "
                    f"{MAX_TEXT_BYTES:,}; want --texts?"
                )
            made.append(Turn(speaker=speaker, text=text_of_size(f"{number}/{place}", size)))
        loaded.append(Conversation(id=number, turns=tuple(made)))
    return loaded


def bundled_shapes() -> Path:
    """The small copy of a few shapes that comes with the program."""
    return Path(str(resources.files("clients.replay") / "shapes.json"))


def choose(conversations: Sequence[Conversation], number: int | None, *, every: bool) -> list[Conversation]:
    """One by its id, or all, or the first.

    Raises:
        UsageError: No conversation has that id.
    """
    if every:
        return list(conversations)
    if number is None:
        return [conversations[0]]
    found = [conversation for conversation in conversations if conversation.id == number]
    if not found:
        raise UsageError(f"There is no conversation with id {number} in the file.")
    return found
