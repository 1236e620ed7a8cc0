"""Which videos and captions the synthetic benchmark holds: everything that is drawn by lot, from one seed.

Not here: pictures (motions_render), files (motions). The test split is drawn first and never depends on the size of
the others; each kind of caption noise has its own lots, so turning one up leaves the other captions as they were.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, fields
from random import Random
from typing import Any, NamedTuple

from reelseek.data.motions_items import KINDS, MOTIONS, Act, Item, Key, caption_key, true_keys
from reelseek.data.motions_language import dropped_clause, misspelt, write, wrong_motion, wrong_object
from reelseek.data.motions_objects import OBJECTS

TRIES = 60
NOISES = ("mismatch", "wrong_motion", "wrong_object", "dropped_clause", "typos")


@dataclass(frozen=True)
class Knobs:
    """Everything about the benchmark besides its sizes and its seed.

    objects: how many different objects occur; fewer make items more alike.
    group: about how many items share one set of objects: the hard negatives of each other.
    single, order, binding, distractor, tempo: shares of items by kind (any positive numbers).
    three_clauses: share of ordered items with three clauses instead of two.
    held_out_motions: motions of each object that training never shows.
    compositional: share of test items that show them.
    false_negatives: share of items that repeat another item's programme under another background and glyph.
    captions, test_captions: captions of a training video, of any other video.
    mismatch, wrong_motion, wrong_object, dropped_clause, typos: share of training captions spoilt in each way.
    side: picture side in pixels. fps: frames a second. clause_frames: frames of every clause.
    trail: fading copies behind a moving object, which show its direction in a single frame.
    """

    objects: int = 40
    group: int = 6
    single: float = 0.2
    order: float = 0.3
    binding: float = 0.2
    distractor: float = 0.15
    tempo: float = 0.15
    three_clauses: float = 0.3
    held_out_motions: int = 1
    compositional: float = 0.3
    false_negatives: float = 0.05
    captions: int = 3
    test_captions: int = 1
    mismatch: float = 0.0
    wrong_motion: float = 0.0
    wrong_object: float = 0.0
    dropped_clause: float = 0.0
    typos: float = 0.0
    side: int = 192
    fps: int = 8
    clause_frames: int = 16
    trail: int = 3

    def __post_init__(self) -> None:
        """Refuse values that cannot be drawn from: raises ValueError."""
        if not 4 <= self.objects <= len(OBJECTS):
            raise ValueError(f"objects must lie between 4 and {len(OBJECTS)}, got {self.objects}")
        if not 0 <= self.held_out_motions <= 4:
            raise ValueError(f"held_out_motions must lie between 0 and 4, got {self.held_out_motions}")
        if self.side % 2 or self.side < 64:
            raise ValueError(f"side must be even and at least 64, got {self.side}")
        if min(self.group, self.captions, self.test_captions, self.fps) < 1 or self.clause_frames < 2 or self.trail < 0:
            raise ValueError("group, captions, test_captions and fps must be at least 1, clause_frames at least 2")
        weights = self.weights()
        if min(weights) < 0 or not sum(weights):
            raise ValueError(f"the shares of {', '.join(KINDS)} must be positive, got {weights}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "float" and field.name not in KINDS and not 0 <= value <= 1:
                raise ValueError(f"{field.name} is a share between 0 and 1, got {value}")

    def weights(self) -> list[float]:
        """Shares of the kinds, in the order of `KINDS`."""
        return [float(getattr(self, kind)) for kind in KINDS]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class Caption(NamedTuple):
    """A caption of an item; noise: the ways in which it was spoilt."""

    id: str
    item: str
    text: str
    noise: tuple[str, ...] = ()


class _Claims:
    """What is claimed and true so far: by the split being drawn, and exactly claimed by any split."""

    def __init__(self) -> None:
        self.claimed: set[Key] = set()
        self.true: set[Key] = set()
        self.everywhere: set[Key] = set()

    def new(self, items: list[Item]) -> bool:
        """Whether no caption of `items` is true of another video, and no earlier caption of theirs."""
        for item in items:
            key = caption_key(item)
            if key in self.everywhere or key in self.true or true_keys(item) & self.claimed:
                return False
        return True

    def add(self, items: list[Item]) -> None:
        for item in items:
            self.claimed.add(caption_key(item))
            self.everywhere.add(caption_key(item))
            self.true |= true_keys(item)

    def next_split(self) -> None:
        self.claimed, self.true = set(), set()


def plan_items(*, train: int, val: int, test: int, seed: int, knobs: Knobs) -> list[Item]:
    """All items, test first. Raises ValueError where the knobs leave nothing to draw."""
    rng = Random(f"{seed}:pool")
    pool = tuple(thing.names[0] for thing in rng.sample(OBJECTS, knobs.objects))
    held_out = {label: frozenset(rng.sample(MOTIONS, knobs.held_out_motions)) for label in pool}
    claims, items = _Claims(), []
    for split, count in (("test", test), ("val", val), ("train", train)):
        claims.next_split()
        items += _Drawing(split, Random(f"{seed}:{split}"), pool, held_out, knobs, claims).draw(count)
    return items


class _Drawing:
    """Draws the items of one split."""

    def __init__(
        self,
        split: str,
        rng: Random,
        pool: tuple[str, ...],
        held_out: dict[str, frozenset[str]],
        knobs: Knobs,
        claims: _Claims,
    ) -> None:
        self.split, self.rng, self.pool, self.held_out = split, rng, pool, held_out
        self.knobs, self.claims = knobs, claims
        self.items: list[Item] = []
        self.groups = 0

    def draw(self, count: int) -> list[Item]:
        """`count` items: originals in groups, always of the kind that lags most behind its share, then copies."""
        originals = count - round(count * self.knobs.false_negatives)
        barren: Counter[tuple[str, bool]] = Counter()
        while len(self.items) < originals:
            room = originals - len(self.items)
            kind = self._lagging_kind() if room > 1 else "single"
            unseen = sum(item.held_out for item in self.items)
            compositional = self.split == "test" and unseen < self.knobs.compositional * (len(self.items) + 1)
            # A kind whose programmes are used up may repeat them; true_pairs then counts the repeats as matches.
            if self._group(kind, compositional, room, repeats=barren[kind, compositional] >= TRIES):
                continue
            barren[kind, compositional] += 1
            if barren[kind, compositional] > 10 * TRIES:
                raise ValueError(f"no {kind} item for {self.split} fits these settings; raise `objects`")
        for number in range(originals, count):
            source = self.rng.choice(self.items[:originals])
            self.items.append(self._copy(source, self._id(number)))
        return self.items

    def _id(self, number: int) -> str:
        return f"{self.split}{number:05d}"

    def _lagging_kind(self) -> str:
        weights = self.knobs.weights()
        counts = Counter(item.kind for item in self.items)
        target = len(self.items) + self.knobs.group
        return max(
            zip(KINDS, weights, strict=True), key=lambda pair: pair[1] / sum(weights) * target - counts[pair[0]]
        )[0]

    def _group(self, kind: str, compositional: bool, room: int, repeats: bool) -> int:
        """Add items that share their objects, return how many; `repeats` allows earlier programmes again."""
        room = min(room, max(self.knobs.group, 2))
        size = {"single": 1, "tempo": 1, "order": self.rng.choice((1, 2, 3))}.get(kind, 2)
        objects = self.rng.sample(self.pool, size)
        before = len(self.items)
        for _ in range(TRIES):
            if room - (len(self.items) - before) < (1 if kind == "single" else 2):
                break
            items = self._programme(kind, objects, compositional)
            if items and (repeats or self.claims.new(items)):
                self.claims.add(items)
                self.items += items
        self.groups += 1
        return len(self.items) - before

    def _programme(self, kind: str, objects: list[str], compositional: bool) -> list[Item]:
        """One item, or two that are each other's twin; [] if the lot breaks the hold-out."""
        rng, mode, still = self.rng, "sequence", ("", "")
        if kind == "order":
            clauses = 3 if len(objects) == 3 or rng.random() < self.knobs.three_clauses else 2
            acts = self._acts((objects * 3)[:clauses], compositional)
            one, two = rng.sample(range(clauses), 2)
            swapped = list(acts)
            swapped[one], swapped[two] = acts[two], acts[one]
            variants = [acts, swapped]
        elif kind == "binding":
            mode = rng.choice(("sequence", "while"))
            first, second = self._acts(objects, compositional)
            variants = [
                [first, second],
                [first._replace(motion=second.motion), second._replace(motion=first.motion)],
            ]
        elif kind == "distractor":
            [act] = self._acts(objects[:1], compositional)
            variants, still = [[act], [act._replace(label=objects[1])]], (objects[1], objects[0])
        elif kind == "tempo":
            [act] = self._acts(objects, compositional)
            variants = [[act], [act._replace(passes=3)]]
        else:
            variants = [self._acts(objects, compositional)]
        unseen = any(act.motion in self.held_out[act.label] for acts in variants for act in acts)
        different = all(len(set(acts)) == len(acts) for acts in variants) and len({*map(tuple, variants)}) == len(
            variants
        )
        if unseen != compositional or not different:
            return []
        scene = rng.getrandbits(32)
        glyphs = {label: rng.choice(_GLYPHS[label]) for label in objects}
        ids = [self._id(len(self.items) + at) for at in range(len(variants))]
        return [
            Item(
                id=ids[at],
                split=self.split,
                kind=kind,
                mode=mode,
                acts=tuple(acts),
                still=still[at],
                marked=kind == "tempo",
                twin=ids[1 - at] if len(ids) == 2 else "",
                copy_of="",
                group=self.groups,
                held_out=compositional,
                glyphs=tuple(glyphs.items()),
                scene=scene,
            )
            for at, acts in enumerate(variants)
        ]

    def _acts(self, labels: list[str], compositional: bool) -> list[Act]:
        """An act for each label, with different motions; the first unseen in training if `compositional`."""
        chosen: list[Act] = []
        for label in labels:
            free = [motion for motion in MOTIONS if motion not in {act.motion for act in chosen}]
            wanted = (
                [motion for motion in free if motion in self.held_out[label]] if compositional and not chosen else []
            )
            allowed = wanted or [motion for motion in free if compositional or motion not in self.held_out[label]]
            chosen.append(Act(label, self.rng.choice(allowed)))
        return chosen

    def _copy(self, source: Item, item_id: str) -> Item:
        glyphs = tuple(
            (label, self.rng.choice([other for other in _GLYPHS[label] if other != glyph] or [glyph]))
            for label, glyph in source.glyphs
        )
        scene = self.rng.getrandbits(32)
        return source._replace(id=item_id, twin="", copy_of=source.id, glyphs=glyphs, scene=scene)


_GLYPHS = {thing.names[0]: thing.glyphs for thing in OBJECTS}


def plan_captions(items: list[Item], *, seed: int, knobs: Knobs) -> list[Caption]:
    """Captions of the items, in their order; only training captions are spoilt, each in the ways that its lots say."""
    labels = tuple(sorted({label for item in items for label, _ in item.glyphs}))
    training = [item for item in items if item.split == "train"]
    captions = []
    for item in items:
        for number in range(knobs.captions if item.split == "train" else knobs.test_captions):
            caption_id = f"{item.id}-{number}"
            described, noise = (
                (item, ()) if item.split != "train" else _spoilt(item, caption_id, training, labels, seed, knobs)
            )
            text = write(described, Random(f"{seed}:words:{caption_id}"))
            if "typos" in noise:
                text = misspelt(text, Random(f"{seed}:letters:{caption_id}"))
            captions.append(Caption(caption_id, item.id, text, noise))
    return captions


def _spoilt(
    item: Item, caption_id: str, training: list[Item], labels: tuple[str, ...], seed: int, knobs: Knobs
) -> tuple[Item, tuple[str, ...]]:
    """The item that the caption describes instead, and the names of the noises whose lot fell on it."""
    noise = []
    for name in NOISES:
        rng = Random(f"{seed}:{name}:{caption_id}")
        if rng.random() >= getattr(knobs, name):
            continue
        changed = item
        if name == "mismatch":
            changed = rng.choice(training)
        elif name == "wrong_motion":
            changed = wrong_motion(item, rng)
        elif name == "wrong_object":
            changed = wrong_object(item, labels, rng)
        elif name == "dropped_clause":
            changed = dropped_clause(item, rng)
        if name == "typos" or changed != item:
            noise.append(name)
        item = changed
    return item, tuple(noise)
