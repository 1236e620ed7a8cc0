"""Episodes of BabyAI: one room, a mission in the BabyAI language, and the solver bot that carries it out.

Not here: which episodes a set holds (babyai), what missions mean (babyai_missions).
BabyAI: Chevalier-Boisvert et al. 2019; environment, language and bot are those of the minigrid package.
Shapes: F frames, H W 3 pixels.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, NamedTuple

import numpy as np
from minigrid.envs.babyai.core import levelgen, verifier
from minigrid.utils import baby_ai_bot

from reelseek.data.babyai_missions import Clause, Mission, mission

# The package states no types of its own.
_LevelGen: Any = levelgen.LevelGen
_Bot: Any = baby_ai_bot.BabyAIBot
_And: Any = verifier.AndInstr
_Description: Any = verifier.ObjDesc

ROOM, TILE, THINGS = 8, 16, 7
SHORTEST, LONGEST = 3, 40
"""Steps of an episode that is kept."""

LEVELS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "goto": (("goto",), ("action",)),
    "pickup": (("pickup",), ("action",)),
    "putnext": (("putnext",), ("action",)),
    "both": (("goto", "pickup"), ("and",)),
    "order": (("goto", "pickup"), ("seq",)),
}
"""Level -> the kinds of actions and of instructions that BabyAI's level generator draws from."""


class Episode(NamedTuple):
    """A mission in words and as a value, and what its execution looks like: uint8 [F, H, W, 3]."""

    words: str
    meaning: Mission
    frames_FHW3: np.ndarray


def play(level: str, seed: int, *, swapped: bool = False) -> Episode | None:
    """The episode of a level and a seed; None if the bot does not solve it in a fitting number of steps.

    swapped: in the same room, with the two parts of an ordered mission exchanged. An ordered episode in which the
    mission of the exchanged order is fulfilled too, by accident, is refused: None.
    """
    actions, kinds = LEVELS[level]
    env = _LevelGen(
        room_size=ROOM, num_rows=1, num_cols=1, num_dists=THINGS, locked_room_prob=0.0, locations=False,
        unblocking=False, implicit_unlock=False, action_kinds=actions, instr_kinds=kinds, highlight=False,
        tile_size=TILE,
    )  # fmt: skip
    # The generator prints every draw that it rejects.
    with contextlib.redirect_stdout(io.StringIO()):
        env.reset(seed=seed)
    if swapped:
        env.instrs = _exchanged(env.instrs)
        env.mission = env.instrs.surface(env)
        env.instrs.reset_verifier(env)
    meaning = _meaning(env.instrs)
    if len(meaning) == 2 and (set(meaning[0]) & set(meaning[1])):
        return None
    frames = _carried_out(env)
    return None if frames is None else Episode(str(env.mission), meaning, frames)


def _carried_out(env: Any) -> np.ndarray | None:
    """Frames of the bot's way, the first one before it moves; None where the episode is of no use."""
    bot = _Bot(env)
    other = _exchanged(env.instrs) if isinstance(env.instrs, verifier.BeforeInstr | verifier.AfterInstr) else None
    if other is not None:
        other.reset_verifier(env)
    frames, action, ended = [env.get_frame(highlight=False, tile_size=TILE)], None, False
    while not ended:
        if len(frames) > LONGEST:
            return None
        try:
            action = bot.replan(action)
        except (AssertionError, IndexError):
            # The bot gives up in this way where a thing stands in its way.
            return None
        _, reward, solved, cut, _ = env.step(action)
        frames.append(env.get_frame(highlight=False, tile_size=TILE))
        if other is not None:
            if action == env.actions.drop:
                env.update_objs_poss(other)
            if other.verify(action) == "success":
                return None
        ended = solved or cut
    return np.stack(frames) if reward > 0 and len(frames) > SHORTEST else None


def _exchanged(instruction: Any) -> Any:
    """An ordered instruction with its parts exchanged, as new objects: an instruction remembers what it has seen."""
    return type(instruction)(_copy(instruction.instr_b), _copy(instruction.instr_a))


def _copy(instruction: Any) -> Any:
    if isinstance(instruction, verifier.AndInstr):
        return _And(_copy(instruction.instr_a), _copy(instruction.instr_b))
    description = instruction.desc
    return type(instruction)(_Description(description.type, description.color, description.loc))


def _meaning(instruction: Any) -> Mission:
    if isinstance(instruction, verifier.BeforeInstr):
        return mission([_clauses(instruction.instr_a), _clauses(instruction.instr_b)])
    if isinstance(instruction, verifier.AfterInstr):
        return mission([_clauses(instruction.instr_b), _clauses(instruction.instr_a)])
    return mission([_clauses(instruction)])


def _clauses(instruction: Any) -> list[Clause]:
    if isinstance(instruction, verifier.AndInstr):
        return [*_clauses(instruction.instr_a), *_clauses(instruction.instr_b)]
    if isinstance(instruction, verifier.PutNextInstr):
        move, place = instruction.desc_move, instruction.desc_fixed
        return [Clause("putnext", move.color or "", move.type, place.color or "", place.type)]
    action = "goto" if isinstance(instruction, verifier.GoToInstr) else "pickup"
    return [Clause(action, instruction.desc.color or "", instruction.desc.type)]
