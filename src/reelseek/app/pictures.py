"""What may be sent to a server as the picture of a query: shared with the client, which asks before it sends.

Not here: taking it in (`reelseek.app.upload`).
"""

from __future__ import annotations

import mimetypes
from pathlib import Path

from reelseek.video.suffixes import VIDEO_SUFFIXES

MOST_BYTES = {"image": 32 << 20, "video": 256 << 20}


def kind_of(path: Path) -> str:
    """The content type of an image or a video by the ending of its name; "" for anything else."""
    kind = mimetypes.guess_type(path.name)[0] or ""
    if kind.split("/")[0] in MOST_BYTES:
        return kind
    # the system's table knows some videos as sound or as other things, and some not at all
    return "video/*" if path.suffix.lower() in VIDEO_SUFFIXES else ""
