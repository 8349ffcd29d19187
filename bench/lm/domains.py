"""Three domains, in the order in which they come, cut into documents of about 500 characters."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SIZE = 500
HELD = 10
"""One document in so many is never learned, by nobody: perplexities are measured on these."""

ORDER = ("shakespeare", "bible", "python docs")


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """Documents to learn, and documents to measure by."""

    name: str
    learned: list[str]
    measured: list[str]


def read_domains(data: Path, characters: int, seed: int = 0) -> list[Domain]:
    """So many characters to learn of each domain, evenly spaced over it; other documents by another seed."""
    texts = {
        "shakespeare": [(data / "lm_tinyshakespeare" / "input.txt").read_text()],
        "bible": [_unpacked(data / "lm_bible_kjv" / "bible_kjv.txt.gz")],
        "python docs": [_unpacked(path) for path in sorted((data / "lm_python_docs").glob("*.txt.gz"))],
    }
    return [_domain(name, texts[name], characters, seed) for name in ORDER]


def _unpacked(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def _domain(name: str, texts: list[str], characters: int, seed: int) -> Domain:
    documents = [document for text in texts for document in _documents(text)]
    wanted = min(len(documents), characters * HELD // (HELD - 1) * len(documents) // sum(map(len, documents)))
    chosen = [documents[(i * len(documents) // wanted + seed) % len(documents)] for i in range(wanted)]
    return Domain(name, [text for i, text in enumerate(chosen) if i % HELD], chosen[::HELD])


def _documents(text: str) -> Iterator[str]:
    """Paragraphs together, as long as they have fewer characters than a document should; long ones are cut."""
    kept: list[str] = []
    for line in text.split("\n"):
        kept.append(line)
        if sum(map(len, kept)) >= SIZE and (not line.strip() or sum(map(len, kept)) >= 2 * SIZE):
            yield "\n".join(kept).strip()
            kept = []
    if any(part.strip() for part in kept):
        yield "\n".join(kept).strip()
