"""The two forms of a recipe over CLIP: the clean one, which recipes are written in, and the papers' own.

Light: settings alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from reelseek.config import RunConfig
from reelseek.errors import ConfigError
from reelseek.recipes.presets import as_released

Form = Literal["clean", "paper"]
FORMS: tuple[str, ...] = get_args(Form)
GARE_SCHEDULE = 5
"""Epochs that the schedule in GARE's release is written for, however many are trained."""


def paper(config: RunConfig) -> RunConfig:
    """A recipe as its method was published and released, as far as it is reproduced.

    BertAdam with its clipping and schedule, heads at 1e-4, towers at 1e-7 (coef_lr 1e-3) with their embeddings kept,
    weight decay 0.2, batch 128; another caption of a video in the batch counts as a negative. GARE adds the preset
    "as-released", and GARE and its baseline a schedule of 5 epochs, also where they train for 10. CAMoE never released
    its training: its paper form is CLIP4Clip's recipe, a reconstruction.

    Left out on purpose: GARE's release trains the towers' embeddings too, all but the image tower's first convolution;
    towers in half precision without loss scaling, which makes another optimiser of BertAdam;
    RandAugment on training clips, which GARE's release has and its paper does not name; choosing the best epoch on the
    test set; the last, smaller batch is trained on too; captions are not cut at 32 or 64 tokens.
    Raises ConfigError for a recipe over frozen towers, of which no paper tells.
    """
    if config.train.backbone_learning_rate == 0:
        raise ConfigError(
            f"there is no paper form over frozen {config.method.backbone} towers: it is for recipes over CLIP, such as "
            "gare-msrvtt. Leave out --form."
        )
    of_gare = config.method.name in ("gare", "gare-baseline")
    config = replace(
        config,
        loss=replace(config.loss, mask_known_positives=False),
        train=replace(
            config.train,
            optimizer="bertadam",
            learning_rate=1e-4,
            backbone_learning_rate=1e-7,
            weight_decay=0.2,
            batch_size=128,
            freeze_layers=0,
            schedule_epochs=GARE_SCHEDULE if of_gare else 0,
        ),
    )
    return as_released(config) if config.method.name == "gare" else config
