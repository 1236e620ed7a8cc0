"""A service that answers without an index, and a camera without videos: for tests of the HTTP interface."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager

import numpy as np
import uvicorn

from reelseek.app.service import Judged
from reelseek.app.web import server_config
from reelseek.errors import UnreadableVideo
from reelseek.index.ask import Answer, PartScore
from reelseek.index.explanation import Explanation, WordShare
from reelseek.index.marks import Mark
from reelseek.index.seen import Curve
from reelseek.index.spoken import Heard
from reelseek.records import Hit


class Library:
    """A service over files of any content; searches return them all, best first, and can be made to wait or fail."""

    def __init__(self, paths):
        self.metadata = None
        self.paths = [str(path) for path in paths]
        self.held = {os.path.realpath(path): stamp(path) for path in self.paths}
        self.asked, self.inside, self.most_inside = [], 0, 0
        self.gate, self.error, self.broken, self.indexing = None, None, [], None
        self.explained, self.marks = [], {}

    def ask(self, query, k, **how):
        self.asked.append((query, k, how))
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        if self.gate is not None:
            assert self.gate.wait(20)
        self.inside -= 1
        if self.error is not None:
            raise self.error
        return [self.answer(path, 0.9 - 0.1 * place) for place, path in enumerate(self.paths[:k])]

    similar = ask

    def answer(self, path, score):
        return Answer(
            path=path,
            start=1.5,
            end=4.0,
            score=score,
            peak=2.25,
            probability=None,
            scale="cosine",
            parts=(PartScore("text", "a dog", score),),
            then=None,
            alike=(Hit(self.paths[0], 0.0, 1.0, 0.1, 0.5),),
            duration=9.0,
            changed=1.7e9,
            metadata={"camera": "<b>\u202e"},
            heard=Heard("/v/a.srt", 2.0, 3.0, "<b>hello\u202e", 1, 1),
        )

    def explain(self, query, path, peak, *, span, content):
        self.explained.append((query, path, peak))
        if self.error is not None:
            raise self.error
        word = WordShare("<b>dog", 0, 6, 0.1, 0.2, (0.1,))
        return Explanation(query, path, 1.5, 4.0, 9.0, 0.9, True, 0.0, (), (word,), (), None, ((0.5, 0.1),))

    def curve(self, query, path, *, content):
        return Curve(np.array([0.5, 1.5]), np.array([0.25, -0.125], np.float32), 2.0)

    def status(self):
        known = {"model": "gare-offline", "trained_on": "motions", "directory": "/index \udcff"}
        known |= {"videos": len(self.paths), "segments": 9, "seconds": 81.5}
        known |= {"broken": self.broken, "broken_count": len(self.broken), "folder_count": 1}
        return known | {"folders": [("/v\udcff", 4)], "probability": False, "indexing": self.indexing, "subtitles": 2}

    def named(self, text):
        return {"/v\\udcff": "/v\udcff"}.get(text, text)

    def judge(self, query, path, peak, good, *, span, content):
        if good is None:
            self.marks.pop((query, path, peak), None)
            return None
        mark = Mark(query, path, content, *(span or (peak, peak)), peak, good, 1.7e9)
        self.marks[query, path, peak] = Judged(mark, path)
        return self.marks[query, path, peak]

    def judged(self):
        return list(self.marks.values())

    def note(self, query, *, filters, subtitles):
        return "Ask in English." if query.text.startswith("ein ") else ""

    def content(self, path):
        return "hash"

    def stamps(self, path, content):
        return [self.held[path]] if path in self.held and content == "hash" else []


def stamp(path):
    """Size and time of change of a file; those of no file for a link that leads nowhere."""
    try:
        facts = os.stat(path)
    except OSError:
        return -1, -1
    return facts.st_size, facts.st_mtime_ns


class Camera:
    """A thumbnail function that remembers its calls."""

    def __init__(self):
        self.taken = []

    def __call__(self, path, seconds):
        self.taken.append((path, seconds))
        if path.suffix == ".mkv":
            raise UnreadableVideo(f"{path} is damaged: copy it again.")
        return b"\xff\xd8 a picture"


@contextmanager
def running(app):
    """The address of an application that a real server answers for, in a thread of this process."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = uvicorn.Server(server_config(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
