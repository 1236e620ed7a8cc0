from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from reelseek.data.motions_items import KINDS, MOTIONS, Act, Item, caption_key, true_pairs
from reelseek.data.motions_language import (
    ADVERBS,
    HELD_OUT_TEMPLATES,
    HELD_OUT_WHILE,
    NAMES,
    TEMPLATES,
    VERBS,
    WHILE,
    dropped_clause,
    misspelt,
    with_article,
    write,
    wrong_motion,
    wrong_object,
)
from reelseek.data.motions_objects import OBJECTS
from reelseek.data.motions_plan import Knobs, plan_captions, plan_items

KNOBS = Knobs()


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return plan_items(train=300, val=40, test=120, seed=3, knobs=KNOBS)


def test_every_name_and_glyph_belongs_to_one_object():
    assert len(OBJECTS) >= 250
    for field in ("names", "glyphs"):
        counts = Counter(value for thing in OBJECTS for value in getattr(thing, field))
        assert max(counts.values()) == 1
    assert all(len(glyph) == 1 for thing in OBJECTS for glyph in thing.glyphs)


def test_equal_seeds_plan_equally(items):
    assert plan_items(train=300, val=40, test=120, seed=3, knobs=KNOBS) == items
    assert plan_items(train=300, val=40, test=120, seed=4, knobs=KNOBS) != items
    captions = plan_captions(items, seed=3, knobs=KNOBS)
    assert plan_captions(items, seed=3, knobs=KNOBS) == captions
    assert plan_captions(items, seed=4, knobs=KNOBS) != captions


def test_the_test_split_does_not_depend_on_the_size_of_the_others(items):
    other = plan_items(train=20, val=4, test=120, seed=3, knobs=KNOBS)
    assert [item for item in other if item.split == "test"] == [item for item in items if item.split == "test"]


def test_sizes_and_shares(items):
    assert Counter(item.split for item in items) == {"train": 300, "val": 40, "test": 120}
    assert len({item.id for item in items}) == len(items)
    train = [item for item in items if item.split == "train"]
    counts = Counter(item.kind for item in train)
    for kind, weight in zip(KINDS, KNOBS.weights(), strict=True):
        assert counts[kind] / len(train) == pytest.approx(weight, abs=0.05)
    # Groups share their objects: the hard negatives.
    groups: dict[int, set] = {}
    for item in train:
        if not item.copy_of:
            groups.setdefault(item.group, set()).add(frozenset(label for label, _ in item.glyphs))
    assert all(len(sets) == 1 for sets in groups.values())
    assert len(groups) < len(train) / 3


def test_twins_differ_in_one_thing_alone(items):
    by_id = {item.id: item for item in items}
    seen = set()
    for item in items:
        if not item.twin:
            assert item.kind == "single" or item.copy_of
            continue
        twin = by_id[item.twin]
        seen.add(item.kind)
        assert twin.twin == item.id
        assert (twin.split, twin.scene, twin.glyphs, twin.mode) == (item.split, item.scene, item.glyphs, item.mode)
        one, other = item.acts, twin.acts
        assert one != other
        if item.kind == "order":
            assert Counter(one) == Counter(other)
            assert item.mode == "sequence"
        elif item.kind == "binding":
            assert Counter(act.label for act in one) == Counter(act.label for act in other)
            assert Counter(act.motion for act in one) == Counter(act.motion for act in other)
            assert Counter(one) != Counter(other)
        elif item.kind == "distractor":
            assert (one[0].label, item.still) == (twin.still, other[0].label)
            assert one[0].motion == other[0].motion
        else:
            assert {one[0].passes, other[0].passes} == {1, 3}
            assert item.marked
    assert seen == {"order", "binding", "distractor", "tempo"}


def test_held_out_pairs_are_seen_in_test_alone(items):
    def pairs_of(chosen):
        return {(act.label, act.motion) for item in chosen for act in item.acts}

    seen = pairs_of(item for item in items if item.split != "test")
    by_id = {item.id: item for item in items}
    held_out = [item for item in items if item.held_out]
    assert all(item.split == "test" for item in held_out)
    assert 0.2 < len(held_out) / 120 < 0.4
    for item in held_out:
        assert pairs_of([item, by_id.get(item.twin, item)]) - seen


def test_without_compositional_items_the_hold_out_still_holds():
    items = plan_items(train=200, val=4, test=40, seed=0, knobs=replace(KNOBS, objects=6, compositional=0.0))
    pairs = {(act.label, act.motion) for item in items for act in item.acts}
    assert len(pairs) <= 6 * 7
    assert not any(item.held_out for item in items)


def is_true(claim: Item, video: Item) -> bool:
    """Whether a caption of `claim` is true of a video, from the meaning of the words."""

    def same(act: Act, other: Act) -> bool:
        return act[:2] == other[:2] and (not claim.marked or act.passes == other.passes)

    if len(claim.acts) > 1 and claim.mode != video.mode:
        return False
    orders = [video.acts] if video.mode == "sequence" else list(itertools.permutations(video.acts))
    for order in orders:
        rest = iter(order)
        if all(any(same(act, other) for other in rest) for act in claim.acts):
            return True
    return False


def test_true_pairs_are_those_of_the_definition():
    items = plan_items(train=1, val=1, test=150, seed=1, knobs=replace(KNOBS, objects=4, three_clauses=0.6))
    items = [item for item in items if item.split == "test"]
    expected = {(t, v) for t, claim in enumerate(items) for v, video in enumerate(items) if is_true(claim, video)}
    assert set(true_pairs(list(enumerate(items)), items)) == expected
    assert len(expected) > 2 * len(items)


def test_false_negatives_are_made_at_the_set_rate_and_no_others_where_there_is_room():
    knobs = replace(KNOBS, objects=300, false_negatives=0.1)
    items = plan_items(train=1, val=1, test=200, seed=0, knobs=knobs)
    items = [item for item in items if item.split == "test"]
    by_id = {item.id: item for item in items}
    copies = [item for item in items if item.copy_of]
    assert len(copies) == 20
    for copy in copies:
        source = by_id[copy.copy_of]
        assert caption_key(copy) == caption_key(source)
        assert copy.scene != source.scene
        for (label, glyph), (_, old) in zip(copy.glyphs, source.glyphs, strict=True):
            other_glyphs = next(len(thing.glyphs) for thing in OBJECTS if thing.names[0] == label) > 1
            assert (glyph != old) == other_glyphs
    extra = {(t, v) for t, v in true_pairs(list(enumerate(items)), items) if t != v}
    sources = [copy.copy_of for copy in copies]
    among_copies = sum(count * (count - 1) for count in Counter(sources).values())
    assert len(extra) == 2 * len(copies) + among_copies


NOUNS = {name: label for label, names in NAMES.items() for name in names}
PREDICATES = {verb: motion for motion, verbs in VERBS.items() for verb in verbs}
PASSES = {adverb: passes for passes, adverbs in ADVERBS.items() for adverb in adverbs}


def parse_clause(clause: str) -> Act | None:
    match = re.fullmatch(
        f"(?:an?|the) ({'|'.join(map(re.escape, NOUNS))}) (?:({'|'.join(PASSES)}) )?({'|'.join(PREDICATES)})", clause
    )
    if match is None:
        return None
    return Act(NOUNS[match[1]], PREDICATES[match[3]], PASSES.get(match[2], 0))


def parse(caption: str, templates: list[tuple[str, str]]) -> set[tuple[str, tuple[Act, ...]]]:
    """Every reading (mode, acts in time) that a caption has under the templates."""
    readings = set()
    for mode, template in templates:
        pattern = re.sub(r"\\{(\w)\\}", r"(?P<\1>.+)", re.escape(template))
        match = re.fullmatch(pattern, caption)
        acts = [] if match is None else [parse_clause(match[letter]) for letter in sorted(match.groupdict())]
        if acts and None not in acts:
            readings.add((mode, tuple(sorted(acts)) if mode == "while" else tuple(acts)))
    return readings


def test_a_caption_reads_back_as_the_programme_it_was_written_for(items):
    trained = [("sequence", "{a}"), *(("while", t) for t in WHILE)]
    trained += [("sequence", t) for templates in TEMPLATES.values() for t in templates]
    held_out = [("sequence", "{a}"), *(("while", t) for t in HELD_OUT_WHILE)]
    held_out += [("sequence", t) for templates in HELD_OUT_TEMPLATES.values() for t in templates]
    by_id = {item.id: item for item in items}
    for caption in plan_captions(items, seed=3, knobs=KNOBS):
        item = by_id[caption.item]
        assert parse(caption.text, held_out if item.held_out else trained) == {caption_key(item)}, caption


def test_wording_varies():
    knobs = replace(KNOBS, captions=3)
    captions = plan_captions(plan_items(train=60, val=1, test=1, seed=0, knobs=knobs), seed=0, knobs=knobs)
    texts = {caption.text for caption in captions if caption.item.startswith("train")}
    assert len(texts) > 120
    assert all(len(verbs) >= 3 for verbs in VERBS.values())
    assert all(len(templates) >= 4 for templates in TEMPLATES.values())
    assert not set(TEMPLATES[2]) & set(HELD_OUT_TEMPLATES[2])
    assert not set(TEMPLATES[3]) & set(HELD_OUT_TEMPLATES[3])


@pytest.mark.parametrize(
    ("name", "phrase"),
    [("dog", "a dog"), ("apple", "an apple"), ("unicorn", "a unicorn"), ("hourglass", "an hourglass")],
)
def test_articles(name, phrase):
    assert with_article(name) == phrase


@pytest.mark.parametrize("noise", ["mismatch", "wrong_motion", "wrong_object", "dropped_clause", "typos"])
def test_each_noise_has_lots_of_its_own(items, noise):
    def captions(**rates):
        return plan_captions(items, seed=3, knobs=replace(KNOBS, **rates))

    clean, some, more = captions(), captions(**{noise: 0.2}), captions(**{noise: 0.5})
    train = [at for at, caption in enumerate(clean) if caption.item.startswith("train")]
    hit = {at for at, caption in enumerate(some) if caption.noise}
    assert hit <= set(train)
    assert hit <= {at for at, caption in enumerate(more) if caption.noise}
    applicable = 0.5 if noise == "dropped_clause" else 1.0
    assert len(hit) / len(train) == pytest.approx(0.2 * applicable, abs=0.05)
    assert all(some[at].noise == (noise,) for at in hit)
    for at, (before, after) in enumerate(zip(clean, some, strict=True)):
        if at not in hit:
            assert after == before
    assert sum(some[at].text != clean[at].text for at in hit) > 0.95 * len(hit)
    both = captions(**{"typos": 0.3, noise: 0.2})
    assert {at for at, caption in enumerate(both) if noise in caption.noise} >= hit


def test_noise_changes_what_it_says(items):
    rng = Random(0)
    labels = ("dog", "cat", "apple")
    for item in items[:60]:
        for changed, field in ((wrong_motion(item, rng), "motion"), (wrong_object(item, labels, rng), "label")):
            different = [
                (a, b) for a, b in zip(item.acts, changed.acts, strict=True) if getattr(a, field) != getattr(b, field)
            ]
            assert len(different) == 1
        assert len(dropped_clause(item, rng).acts) == max(len(item.acts) - 1, 1)
        text = write(item, rng)
        wrong = misspelt(text, rng)
        assert wrong != text
        assert abs(len(wrong) - len(text)) <= 1
    assert misspelt("a dog is", rng) == "a dog is"


@pytest.mark.parametrize(
    "changes",
    [
        {"objects": 3},
        {"objects": 10_000},
        {"held_out_motions": 5},
        {"side": 63},
        {"side": 101},
        {"group": 0},
        {"clause_frames": 1},
        {"trail": -1},
        {"single": -1.0},
        {"single": 0.0, "order": 0.0, "binding": 0.0, "distractor": 0.0, "tempo": 0.0},
        {"typos": 1.5},
        {"false_negatives": -0.1},
    ],
)
def test_knobs_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match=r"must|share|at least"):
        replace(KNOBS, **changes)


def test_settings_that_leave_nothing_to_draw_are_refused():
    knobs = replace(KNOBS, held_out_motions=0, compositional=1.0)
    with pytest.raises(ValueError, match=r"no .* item for test fits these settings"):
        plan_items(train=1, val=1, test=4, seed=0, knobs=knobs)


def test_items_survive_json(items):
    assert [Item.from_json(item.to_json()) for item in items[:50]] == items[:50]
    assert set(MOTIONS) == set(VERBS)
