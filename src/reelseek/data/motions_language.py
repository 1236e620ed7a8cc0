"""The captions of the synthetic benchmark: wording of an item, and noise on wording.

Not here: what an item is (motions_items). Every word is drawn from the generator passed in, so equal seeds write
equal captions.
"""

from __future__ import annotations

import re
from random import Random

from reelseek.data.motions_items import MOTIONS, Act, Item
from reelseek.data.motions_objects import OBJECTS

VERBS = {
    "right": ("moves from left to right", "slides to the right", "crosses over to the right side"),
    "left": ("moves from right to left", "slides to the left", "crosses over to the left side"),
    "rise": ("rises", "goes up", "climbs upwards"),
    "fall": ("falls", "goes down", "drops downwards"),
    "circle": ("goes round in a circle", "circles around", "travels along a ring"),
    "grow": ("grows", "gets bigger", "swells up"),
    "shrink": ("shrinks", "gets smaller", "dwindles away"),
    "spin": ("spins on the spot", "rotates in place", "twirls around itself"),
}
ADVERBS = {1: ("slowly", "gently"), 3: ("quickly", "rapidly")}

# Letters stand for acts in the order of time, so "{b} after {a}" says the same as "{a} before {b}".
TEMPLATES = {
    2: ("{a}, then {b}", "{b} after {a}", "{a} before {b}", "first {a}, and in the end {b}"),
    3: (
        "{a}, then {b}, and then {c}",
        "{b} after {a}, and then {c}",
        "{a} before {b}, and then {c}",
        "first {a}, next {b}, and in the end {c}",
    ),
}
WHILE = ("{a} while {b}", "while {a}, {b}", "{a} and at the same time {b}")
HELD_OUT_TEMPLATES = {
    2: ("once {a}, {b}", "after {a}, {b}"),
    3: ("once {a}, {b}, and later {c}", "after {a}, {b}, and finally {c}"),
}
HELD_OUT_WHILE = ("as {a}, {b}",)

NAMES = {thing.names[0]: thing.names for thing in OBJECTS}
NOT_AN = ("unicorn",)
ALSO_AN = ("hourglass",)


def write(item: Item, rng: Random) -> str:
    """A caption that is true of the item's video; a held-out item gets a held-out template where its acts need one."""
    acts = list(item.acts)
    names = {act.label: rng.choice(NAMES[act.label]) for act in acts}
    if len(acts) == 1:
        template = "{a}"
    elif item.mode == "while":
        rng.shuffle(acts)
        template = rng.choice(HELD_OUT_WHILE if item.held_out else WHILE)
    else:
        template = rng.choice((HELD_OUT_TEMPLATES if item.held_out else TEMPLATES)[len(acts)])
    words, named = {}, set()
    for letter in re.findall(r"{(\w)}", template):
        act = acts[ord(letter) - ord("a")]
        name = names[act.label]
        noun = f"the {name}" if act.label in named else with_article(name)
        named.add(act.label)
        adverb = f"{rng.choice(ADVERBS[act.passes])} " if item.marked else ""
        words[letter] = f"{noun} {adverb}{rng.choice(VERBS[act.motion])}"
    return template.format(**words)


def with_article(name: str) -> str:
    """ "a dog", "an apple"."""
    vowel = name[0].lower() in "aeiou"
    return f"an {name}" if (vowel and name not in NOT_AN) or name in ALSO_AN else f"a {name}"


def wrong_motion(item: Item, rng: Random) -> Item:
    """The item with one act's motion exchanged for another: its caption names the wrong motion."""
    at = rng.randrange(len(item.acts))
    others = [motion for motion in MOTIONS if motion != item.acts[at].motion]
    return _with_act(item, at, item.acts[at]._replace(motion=rng.choice(others)))


def wrong_object(item: Item, labels: tuple[str, ...], rng: Random) -> Item:
    """The item with one act's object exchanged for one that is not in the video."""
    at = rng.randrange(len(item.acts))
    shown = {act.label for act in item.acts} | {item.still}
    others = [label for label in labels if label not in shown]
    return _with_act(item, at, item.acts[at]._replace(label=rng.choice(others)))


def dropped_clause(item: Item, rng: Random) -> Item:
    """The item without one of its acts; an item of one act is returned as it is."""
    if len(item.acts) == 1:
        return item
    at = rng.randrange(len(item.acts))
    return item._replace(acts=item.acts[:at] + item.acts[at + 1 :])


def misspelt(caption: str, rng: Random) -> str:
    """The caption with two neighbouring letters exchanged, or one left out, in one word of four letters or more."""
    words = caption.split(" ")
    long = [at for at, word in enumerate(words) if len(word) >= 4]
    if not long:
        return caption
    at = rng.choice(long)
    word = words[at]
    spot = rng.randrange(len(word) - 1)
    if word[spot] == word[spot + 1] or rng.random() < 0.5:
        words[at] = word[:spot] + word[spot + 1 :]
    else:
        words[at] = word[:spot] + word[spot + 1] + word[spot] + word[spot + 2 :]
    return " ".join(words)


def _with_act(item: Item, at: int, act: Act) -> Item:
    return item._replace(acts=(*item.acts[:at], act, *item.acts[at + 1 :]))
