"""Every error that reelseek raises on purpose.

ReelseekError
├── VideoError            a file that cannot be turned into frames
│   ├── UnreadableVideo       not a video, damaged, or empty
│   │   └── UnreachableVideo      cannot be read now: gone, no permission, an error of the disk or the network
│   ├── NoVideoStream         a media file without pictures
│   └── TruncatedVideo        ends before its stated length
├── ModelError            a model that cannot be found, read or used
│   ├── HubUnreachable        a hub name that is not in the local cache while the hub does not answer
│   └── UnsafeFile            a weights file with content that is not tensors
├── DataError             annotation files or captions that do not fit together
├── ConfigError           a setting that does not exist or has a wrong value
├── CheckpointError       a run folder that is damaged or of another kind
├── TrainingError         a training run that cannot go on
├── ExportError           results that cannot be written as asked
├── ServerError           a server that refuses what was asked, or does not answer
└── IndexError_           an index directory that cannot be used as asked
    ├── NotAnIndex            the directory is something else
    ├── IndexMismatch         made by another model
    ├── NotInIndex            no such file or moment in it (any more)
    └── IndexLocked           another process is writing

Wrong values passed to a function (a NaN score, an empty relevance row, an all-False mask) raise ValueError.
"""

from __future__ import annotations


class ReelseekError(Exception):
    """Base of the tree: the message says what is wrong, where, and what to do."""


class VideoError(ReelseekError):
    """A file that cannot be turned into frames."""


class UnreadableVideo(VideoError):
    """Not a video, damaged, or empty."""


class UnreachableVideo(UnreadableVideo):
    """Cannot be read now, which says nothing of what the file holds: gone, no permission, an error of the disk."""


class NoVideoStream(VideoError):
    """A media file without pictures."""


class TruncatedVideo(VideoError):
    """The pictures end before the stated length."""


class ModelError(ReelseekError):
    """A model that cannot be found, read or used."""


class HubUnreachable(ModelError):
    """A hub name that is not in the local cache while the hub does not answer."""


class UnsafeFile(ModelError):
    """A weights file with content that is not tensors."""


class DataError(ReelseekError):
    """Annotation files or captions that do not fit together."""


class ConfigError(ReelseekError):
    """A setting that does not exist or has a wrong value."""


class CheckpointError(ReelseekError):
    """A run folder that is damaged or of another kind."""


class TrainingError(ReelseekError):
    """A training run that cannot go on: its loss is not a number."""


class ExportError(ReelseekError):
    """Results that cannot be written as asked: a file is in the way, or the format cannot hold them."""


class ServerError(ReelseekError):
    """A server that refuses what was asked, or does not answer."""


class IndexError_(ReelseekError):
    """An index directory that cannot be used as asked."""


class NotAnIndex(IndexError_):
    """The directory is something else."""


class IndexMismatch(IndexError_):
    """The index was made by another model."""


class NotInIndex(IndexError_):
    """The index holds no such file or moment (any more)."""


class IndexLocked(IndexError_):
    """Another process is writing to the index."""
