"""An image file as one frame. Not here: frames of videos (`reelseek.video.decode`). Shape legend: H W 3 pixels."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from reelseek.errors import UnreadableVideo

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "JPEG2000", "PPM", "ICO", "TGA")
"""Pillow's readers of pictures made of pixels. Others hand a file to programs: PostScript to Ghostscript."""

LARGEST = 89_478_485
"""Pixels of the largest picture that is decoded, be it an image or a frame of a video: Pillow's own bound; 8K has 33
million. A file of some kilobytes can hold one of any size."""

MOST_PIXELS = 1 << 24
"""A larger image is shrunk by a whole number: encoders look at less than a hundredth of it, and copies take memory."""


def read_image(path: Path) -> np.ndarray:
    """RGB uint8 [1, H, W, 3] of an image file, upright as its tags say; of several pictures the first.

    Transparent parts become white. One of more than `MOST_PIXELS` comes shrunk. Raises UnreadableVideo for what is no
    image, is damaged, has more than `LARGEST` pixels, or is not there.
    """
    Image.init()
    try:
        # Pillow warns of images of more than 90 million pixels before it refuses those of twice as many.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged tags
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=[kind for kind in FORMATS if kind in Image.OPEN]) as image:
                # a program around this one may have lifted Pillow's bound
                if image.width * image.height > LARGEST:
                    raise Image.DecompressionBombError
                ImageOps.exif_transpose(image, in_place=True)
                clear = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
                drawn = _shrunk(image, "RGBA" if clear else "RGB")
                if clear:
                    drawn = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn)
                return np.asarray(drawn.convert("RGB"))[None].copy()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableVideo(f"{path}: has too many pixels for an example image; make it smaller.") from None
    except (OSError, ValueError, SyntaxError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "it is no image file, or damaged"
        raise UnreadableVideo(f"{path}: cannot be read as an image ({reason}).") from None


def _shrunk(image: Image.Image, mode: str) -> Image.Image:
    """At most about 9 bytes a pixel at once, the image itself included."""
    drawn = image if image.mode == mode else image.convert(mode)
    factor = math.ceil(math.sqrt(image.width * image.height / MOST_PIXELS))
    return drawn.reduce(factor) if factor > 1 else drawn
