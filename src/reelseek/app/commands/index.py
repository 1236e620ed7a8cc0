"""`reelseek index`: make or update the index of folders of videos, or look after one."""

from __future__ import annotations

import difflib
import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelseek.app.terminal import add_device, parser, printable, progress, short, table, tell_broken
from reelseek.config import IndexConfig
from reelseek.errors import ConfigError
from reelseek.index.encodable import encodable
from reelseek.records import BrokenFile

if TYPE_CHECKING:
    from reelseek.index.build import IndexReport
    from reelseek.index.cards import IndexCard
    from reelseek.index.plan import Emptied
    from reelseek.index.watch import Change
    from reelseek.methods.method import Method

VERBS = ("list", "remove", "compact", "switch", "rollback")
SAMPLING = ("fps", "segment_frames", "segments", "keyframes")
TAKEN = {"switch": ("model", *SAMPLING, "device")}
"""Options besides --index and --json that a verb reads; the other verbs read none."""
ENDINGS = "they are known by their endings, such as .mp4, .mkv, .webm, .mov or .avi."


def parse(words: Sequence[str]) -> Namespace:
    """FOLDER... --index DIR, or list|remove|compact|switch|rollback --index DIR."""
    options = parser(
        "index",
        "Make the index of all videos below folders, or bring it up to date; unchanged files are not opened again. "
        "`reelseek index list --index DIR` shows what it holds, `remove PATH...` takes files out (until their folder "
        "is indexed again: move or delete them first), `compact` tidies it, `switch --model M` embeds everything by "
        "another model and then answers from it, `rollback` takes that back "
        "(a folder of one of these names is given as ./list).",
    )
    options.add_argument(
        "folders",
        nargs="+",
        metavar="FOLDER",
        help="folders or files (or one of: list, remove PATH..., compact, switch, rollback)",
    )
    options.add_argument("--index", required=True, metavar="DIR", help="where the index is or shall be")
    options.add_argument(
        "--model",
        default="",
        help="offline, a CLIP or SigLIP name or folder, a run of `train`, or a weights file (new indexes: offline)",
    )
    options.add_argument("--fps", type=float, default=None, help="frames looked at a second (new indexes: 1)")
    options.add_argument("--segment-frames", type=int, default=None, help="frames of a segment (new indexes: 12)")
    options.add_argument(
        "--segments",
        choices=["windows", "shots"],
        default=None,
        help="windows of that length, or shots, at most as long (new indexes: windows)",
    )
    options.add_argument(
        "--keyframes",
        choices=["yes", "no"],
        nargs="?",
        const="yes",
        default=None,
        help="look at key frames only: faster, less exact (new indexes: no)",
    )
    options.add_argument(
        "--keep-frames",
        choices=["yes", "no"],
        default=None,
        help="keep the frames of what is added, small, so that `switch` needs no videos; no deletes those kept",
    )
    options.add_argument(
        "--watch",
        action="store_true",
        help="then go on: take up what is added, changed, moved and removed, until Ctrl-C",
    )
    add_device(options)
    options.add_argument("--json", action="store_true", help="print the report (or the list, or what was done) as JSON")
    return options.parse_args(list(words))


def run(arguments: Namespace) -> int:
    """Update the index and say what was done; broken files are counted on stderr with their reasons."""
    directory = Path(arguments.index)
    verb, *rest = arguments.folders
    if verb in VERBS:
        _refuse_idle(verb, arguments)
    if verb == "switch":
        return _switch(directory, rest, arguments)
    if verb in VERBS:
        return _look_after(directory, verb, [Path(path) for path in rest], as_json=arguments.json)
    meant = difflib.get_close_matches(verb, VERBS, n=1)
    if meant and not os.path.lexists(verb):
        raise ConfigError(f"{verb}: there is no such folder or file. Did you mean `reelseek index {meant[0]}`?")
    from reelseek.app.models import method_for_index, model_card
    from reelseek.index.build import update

    method, source = method_for_index(directory, arguments.model, arguments.device)
    if arguments.watch:
        return _watch(directory, arguments, method, source)
    with progress("indexing") as tell:
        report = update(
            directory,
            [Path(folder) for folder in arguments.folders],
            method,
            model_card=model_card(method, source),
            config=_config(arguments, _usual(directory)),
            keep_frames=_keep_frames(arguments),
            progress=tell,
        )
    _tell_emptied(report.emptied)
    _tell(directory, report, as_json=arguments.json)
    if not (report.added or report.unchanged or report.moved or report.broken):
        print(f"no video files below {', '.join(map(printable, arguments.folders))}: {ENDINGS}", file=sys.stderr)
    return 0


def _refuse_idle(verb: str, arguments: Namespace) -> None:
    """Raises ConfigError for an option that was given and that the verb would not read."""
    usual = {"model": "", "device": "auto", "watch": False, **dict.fromkeys((*SAMPLING, "keep_frames"))}
    for name, unset in usual.items():
        if name not in TAKEN.get(verb, ()) and getattr(arguments, name) != unset:
            raise ConfigError(f"--{name.replace('_', '-')}: `reelseek index {verb}` does not read it; leave it out.")


def _watch(directory: Path, arguments: Namespace, method: Method, source: str) -> int:
    from reelseek.app.models import model_card
    from reelseek.index.watch import SETTLED, watch

    begun = False
    empty: set[Path] = set()

    def tell(report: IndexReport, changed: Sequence[Change]) -> None:
        nonlocal begun, empty
        known, empty = empty, {place.folder for place in report.emptied}
        _tell_emptied([place for place in report.emptied if place.folder not in known])
        if not begun:
            _tell(directory, report, as_json=arguments.json)
            places = ", ".join(map(printable, arguments.folders))
            say(f"watching {places}: a file is taken once it has not changed for {SETTLED:g} s. Ctrl-C ends it.")
            begun = True
            return
        for change in changed:
            if arguments.json:
                record = {"change": change.kind, "path": str(change.path), "reason": change.reason}
                print(json.dumps(encodable(record | ({"was": str(change.was)} if change.was else {}))), flush=True)
            else:
                said = change.reason or short(str(change.path))
                was = f" (was {short(str(change.was))})" if change.was else ""
                print(f"{change.kind}: {printable(said)}{was}", flush=True)

    def say(sentence: str) -> None:
        sys.stdout.flush()
        print(printable(sentence), file=sys.stderr, flush=True)

    try:
        watch(
            directory,
            [Path(folder) for folder in arguments.folders],
            method,
            model_card=model_card(method, source),
            config=_config(arguments, _usual(directory)),
            keep_frames=_keep_frames(arguments),
            tell=tell,
            say=say,
        )
    except KeyboardInterrupt:
        say("no longer watching; the index is whole.")
    return 0


def _keep_frames(arguments: Namespace) -> bool | None:
    return None if arguments.keep_frames is None else bool(arguments.keep_frames == "yes")


def _switch(directory: Path, rest: Sequence[str], arguments: Namespace) -> int:
    from reelseek.app.models import load_method, method_of_index, model_card
    from reelseek.index.cards import open_index
    from reelseek.index.switch import switch

    if rest:
        raise ConfigError("`reelseek index switch` takes no files or folders: it embeds all that the index knows.")
    old = open_index(directory)
    source = arguments.model or str(old.model["source"])
    if arguments.model:
        method, head = load_method(source, arguments.device), ""
    else:  # other settings of the same model, its head included
        method, head = method_of_index(old, "", arguments.device), str(old.model.get("head", ""))
    with progress(f"embedding by {method.name}") as tell:
        report = switch(
            directory,
            method,
            model_card=model_card(method, source, head=head),
            config=_config(arguments, old.config),
            progress=tell,
        )
    _tell(directory, report, as_json=arguments.json)
    if not arguments.json:
        print(
            f"It answers from {_changed(open_index(directory), old)} now; `reelseek index rollback` takes that back "
            "until it is compacted."
        )
    return 0


def _changed(new: IndexCard, old: IndexCard) -> str:
    """What a switch, or taking one back, made other: the model, the settings, or both."""
    from reelseek.index.cards import options_of

    changed = [new.model["name"]] if new.model["id"] != old.model["id"] else []
    changed += [f"vectors made with {options_of(new.config, old.config)}"] if new.config != old.config else []
    return " and ".join(changed)


def _usual(directory: Path) -> IndexConfig:
    """The settings of an index; of one that is still to be made, the usual ones."""
    from reelseek.index.cards import is_index, open_index

    return open_index(directory).config if is_index(directory) else IndexConfig()


def _config(arguments: Namespace, usual: IndexConfig) -> IndexConfig | None:
    """What was asked for over what is usual; None, the index's own settings, if nothing was."""
    asked = {name: value for name in SAMPLING if (value := getattr(arguments, name)) is not None}
    if not asked:
        return None
    if "keyframes" in asked:
        asked["keyframes"] = asked["keyframes"] == "yes"
    config = replace(usual, **asked)
    if config.fps <= 0 or config.segment_frames < 1:
        raise ConfigError("--fps must be above 0 and --segment-frames at least 1.")
    return config


def _tell(directory: Path, report: IndexReport, *, as_json: bool) -> None:
    tell_broken(report.broken)
    tell_broken(report.subtitles_broken)
    if as_json:
        print(json.dumps(encodable(plain(report))))
        return
    print(
        f"{directory}: {report.added} added, {report.unchanged} unchanged, {report.moved} moved or copied, "
        f"{report.removed} removed, {len(report.broken)} set aside."
    )
    if report.added and report.seconds > 0:
        speed = report.video_seconds / report.seconds
        print(f"{report.video_seconds:.0f} s of video in {report.seconds:.1f} s ({speed:.0f} times real time).")
    if report.subtitles_read:
        damaged = f", {report.cues_damaged} damaged cues left out" if report.cues_damaged else ""
        print(f"{report.subtitles_read} of {report.subtitles} subtitle files read{damaged}.")


def _tell_emptied(places: Sequence[Emptied]) -> None:
    for folder, count in places:
        files = f"{count} file{'s'[: count != 1]}"
        sentence = (
            f"{folder}: is empty now. The index keeps the {files} that it knows there: is a disk not mounted? "
            f"If they were deleted, take them out with `reelseek index remove {folder}`."
        )
        print(printable(sentence), file=sys.stderr, flush=True)


def plain(report: IndexReport) -> dict[str, Any]:
    """A report as values of JSON."""

    def told(files: Sequence[BrokenFile]) -> list[dict[str, str]]:
        return [{"path": str(file.path), "reason": file.reason} for file in files]

    return report._asdict() | {
        "broken": told(report.broken),
        "subtitles_broken": told(report.subtitles_broken),
        "emptied": [{"folder": str(place.folder), "files": place.files} for place in report.emptied],
    }


def _look_after(directory: Path, verb: str, paths: list[Path], *, as_json: bool) -> int:
    if bool(paths) != (verb == "remove"):
        wanted = "needs the files or folders to take out" if verb == "remove" else "takes no files or folders"
        raise ConfigError(f"`reelseek index {verb}` {wanted}; a folder called {verb} is given as ./{verb}.")
    from reelseek.index.store import list_files
    from reelseek.index.upkeep import compact, remove

    def say(sentence: str, **known: object) -> None:
        print(json.dumps(encodable({"index": str(directory), **known})) if as_json else sentence)

    if verb == "remove":
        count = remove(directory, paths)
        say(f"{count} {'file' if count == 1 else 'files'} taken out of {directory}.", removed=count)
        if any(path.exists() for path in paths):
            print(
                "What still lies there comes back when its folder is indexed again: move or delete it, or index only "
                "the other folders.",
                file=sys.stderr,
            )
        return 0
    if verb == "rollback":
        _roll_back(directory, say)
        return 0
    if verb == "compact":
        compact(directory)
        say(f"{directory}: unused vectors are off the disk, small data files merged.", compacted=True)
        return 0
    files = list_files(directory)
    if as_json:
        for file in files:
            row = {"path": str(file.path), "status": file.status, "duration": file.duration, "reason": file.reason}
            print(json.dumps(encodable(row)))
        return 0
    rows = [(printable(str(f.path)), f.status, f"{f.duration:.1f}", printable(f.reason)) for f in files]
    table(f"{directory}: {len(files)} files", ["path", "status", "seconds", "reason"], rows, right=[2])
    return 0


def _roll_back(directory: Path, say: Callable[..., None]) -> None:
    from reelseek.index.cards import open_index
    from reelseek.index.store import named_contents
    from reelseek.index.switch import roll_back

    old = open_index(directory)
    new = roll_back(directory)
    lacking = len(named_contents(old.tables) - named_contents(new.tables))
    say(
        f"{directory}: answers from {_changed(new, old)} again; once more goes forward.",
        model=new.model["name"],
        lacking=lacking,
    )
    if lacking:
        print(
            f"{lacking} file{'s'[: lacking != 1]} indexed since the switch will be missing until `reelseek index` of "
            "their folders adds them.",
            file=sys.stderr,
        )
