"""The sketches of a process, by what they are of, and the file they survive a restart in."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from libs.resilience.sketch import DamagedSketchError, Sketch

Key = tuple[str, str, int]

_MAGIC = b"HSKS1"
_COUNT = struct.Struct("<I")
# Load band, then the lengths of the hop's name, the rung's name and the sketch.
_ENTRY = struct.Struct("<iIII")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of reading a file of sketches.

    Attributes:
        sketches_count: sketches that were read.
        problem: why the file could not be used; empty if nothing is wrong.
        set_aside: where a damaged file now lies; None if none was moved.
    """

    sketches_count: int = 0
    problem: str = ""
    set_aside: Path | None = None


class Sketches:
    """One sketch for each hop, rung of the ladder and load band.

    Not to be shared between threads.
    """

    def __init__(
        self, half_life_s: float | None, clock: Callable[[], float], max_keys: int = 512
    ) -> None:
        """Make an empty set.

        Args:
            half_life_s: of each sketch, see there.
            clock: seconds that only go forward.
            max_keys: sketches that are kept; one takes about 20 KB.
        """
        self._half_life_s = half_life_s
        self._clock = clock
        self._max_keys = max_keys
        self._sketches: dict[Key, Sketch] = {}

    def __len__(self) -> int:
        return len(self._sketches)

    def of(self, hop: str, rung: str = "", band: int = 0) -> Sketch:
        """Return the sketch to count a call in, made now if there is none.

        Where there are too many, the one that has counted least lately makes room.
        """
        key = (hop, rung, band)
        found = self._sketches.get(key)
        if found is None:
            self._make_room()
            found = self._sketches[key] = Sketch(self._half_life_s, self._clock)
        return found

    def nearby(self, hop: str, rung: str = "", band: int = 0) -> Iterator[Sketch]:
        """Yield what to expect by: of the nearest other band that has calls, then of this one.

        Of two that are as near it is that of the higher load, which promises less. A band
        that has no calls is left out.
        """
        others = [key[2] for key in self._sketches if key[:2] == (hop, rung) and key[2] != band]
        others.sort(key=lambda other: (abs(other - band), -other))
        sketches = (self._sketches[hop, rung, other] for other in others)
        nearest = next((each for each in sketches if each.count), None)
        if nearest is not None:
            yield nearest
        own = self._sketches.get((hop, rung, band))
        if own is not None and own.count:
            yield own

    def to_bytes(self) -> bytes:
        """Return all of them as one file holds them."""
        entries = b"".join(_packed(key, each) for key, each in self._sketches.items())
        content = _MAGIC + _COUNT.pack(len(self._sketches)) + entries
        return content + _COUNT.pack(zlib.crc32(content))

    def save(self, path: Path) -> None:
        """Write all of them; a reader, or a crash, finds the new file or the old one.

        Waits for the disk. From an event loop, hand `to_bytes()` to `replace_file` in a thread.

        Raises:
            OSError: it cannot be written.
        """
        replace_file(path, self.to_bytes())

    def load(self, path: Path) -> Loaded:
        """Count what a file holds, or nothing of it, and say what came of it.

        No file is no problem. A damaged one is renamed to `*.damaged`, so that the next save
        does not destroy what may be looked into. Raises nothing: a process can start without.
        """
        try:
            found = list(self._read(path.read_bytes()))
        except FileNotFoundError:
            return Loaded()
        except OSError as error:
            return Loaded(problem=f"{path} cannot be read: {error}")
        except (DamagedSketchError, struct.error, UnicodeDecodeError) as error:
            return _set_aside(path, f"{path} is damaged: {error}")
        for key, sketch in found:
            self.of(*key).merge(sketch)
        return Loaded(len(found))

    def _make_room(self) -> None:
        if len(self._sketches) >= self._max_keys:
            least = min(self._sketches, key=lambda key: self._sketches[key].count)
            del self._sketches[least]

    def _read(self, data: bytes) -> Iterator[tuple[Key, Sketch]]:
        """Yield each sketch of a file.

        Raises:
            DamagedSketchError: it is not whole.
        """
        content, checksum = data[: -_COUNT.size], data[-_COUNT.size :]
        if not content.startswith(_MAGIC) or _COUNT.pack(zlib.crc32(content)) != checksum:
            raise DamagedSketchError("version or checksum is not what it should be")
        (count,) = _COUNT.unpack_from(content, len(_MAGIC))
        at = len(_MAGIC) + _COUNT.size
        for _ in range(count):
            band, *lengths = _ENTRY.unpack_from(content, at)
            parts, at = _sliced(content, at + _ENTRY.size, lengths)
            sketch = Sketch.from_bytes(parts[2], self._half_life_s, self._clock)
            yield (parts[0].decode(), parts[1].decode(), band), sketch


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds all of it or what was there before.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as part:
        try:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
            Path(part.name).replace(path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise


def _packed(key: Key, sketch: Sketch) -> bytes:
    hop, rung, data = key[0].encode(), key[1].encode(), sketch.to_bytes()
    return _ENTRY.pack(key[2], len(hop), len(rung), len(data)) + hop + rung + data


def _sliced(content: bytes, at: int, lengths: list[int]) -> tuple[list[bytes], int]:
    """Return consecutive parts of these lengths, and where they end."""
    parts = []
    for length in lengths:
        parts.append(content[at : at + length])
        at += length
    return parts, at


def _set_aside(path: Path, problem: str) -> Loaded:
    aside = path.with_name(path.name + ".damaged")
    try:
        path.replace(aside)
    except OSError as error:
        return Loaded(problem=f"{problem}; it cannot be set aside: {error}")
    return Loaded(problem=problem, set_aside=aside)
