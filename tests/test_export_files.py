"""Results as files: which names, what is refused, what a kill leaves; and `reelseek search --out` from end to end."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from PIL import Image

from cli_world import COLOURS, Said, gradient, refused, run
from reelseek.errors import ConfigError, ExportError
from reelseek.index import export
from reelseek.index.export import FORMATS, Written, check_outs, clip_names, write_results
from reelseek.records import BrokenFile, Hit
from video_clips import make_clip, plain_read


@pytest.fixture
def found(tmp_path: Path) -> list[Hit]:
    paths = [make_clip(tmp_path / f"{name}.mp4", options={"g": "12", "bf": "0"}) for name in ("a", "b")]
    return [Hit(str(paths[0]), 0.4, 1.2, 0.5, 0.8), Hit(str(paths[1]), 0.1, 0.3, 0.4, 0.2)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(hits: list[Hit], out: Path | str, **options) -> list[Written | BrokenFile]:
    return list(write_results("a dog", hits, str(out), **options))


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_appears_under_its_name(found: list[Hit], tmp_path: Path, ending: str) -> None:
    out = tmp_path / "new" / "folder" / f"dog{ending.upper()}"
    made = write(found[:1], out)
    assert made == [Written(out)]
    assert names(out.parent) == [out.name]
    assert out.read_bytes() == FORMATS[ending]("a dog", found[:1]).documents[0].content
    assert out.stat().st_mode & 0o777 == 0o666 & ~umask(), "as any new file"


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_several_videos_are_several_subtitles(found: list[Hit], tmp_path: Path) -> None:
    assert [one.path.name for one in write(found, tmp_path / "new" / "x.y.srt")] == ["x.y.a.srt", "x.y.b.srt"]


@pytest.mark.parametrize("mode", ["exact", "copy"])
def test_clips_in_a_folder(found: list[Hit], tmp_path: Path, mode: str) -> None:
    made = write(found, f"{tmp_path}/clips.of.dogs/", mode=mode)
    folder = tmp_path / "clips.of.dogs"
    assert names(folder) == ["01-a-0h00m00.4s.mp4", "02-b-0h00m00.1s.mp4"] == clip_names(found)
    assert [one.cut.copied for one in made] == [True, mode == "copy"]
    numbers = [number for _, number, _ in plain_read(folder / names(folder)[1])]
    assert numbers == list(range(3 if mode == "exact" else 0, 9))
    # an existing folder needs no slash
    assert [one.path.parent for one in write(found[:1], folder, overwrite=True)] == [folder]


def test_clip_names_lead_nowhere_else() -> None:
    hits = [Hit(f"/a/{name}.mp4", 3661.26, 3662, 0.5, 3661) for name in ("..", "../../x", "a\n\x00b", "猫" * 300, "")]
    made = clip_names(hits * 30)
    assert len(set(made)) == 150
    assert made[0] == "001-video-1h01m01.3s.mp4"
    assert all(Path(name).name == name and len(name.encode()) < 200 and name.isprintable() for name in made)


def test_what_is_there_is_kept(found: list[Hit], tmp_path: Path) -> None:
    for name in ("dog.csv", "dog.b.srt", "clips/02-b-0h00m00.1s.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "dog.png").symlink_to("nowhere")
    (tmp_path / "dog.edl").mkdir()
    before = names(tmp_path)
    for out in ("dog.csv", "dog.srt", "clips", "dog.png", "dog.edl"):
        with pytest.raises(ExportError, match=r"is there already and is kept|is a folder"):
            write(found, tmp_path / out)
    assert names(tmp_path) == before
    assert names(tmp_path / "clips") == ["02-b-0h00m00.1s.mp4"], "the first clip is not written either"
    assert len(write(found, tmp_path / "dog.srt", overwrite=True)) == 2
    assert (tmp_path / "dog.b.srt").read_text().startswith("1\n00:00:00,100")
    assert (tmp_path / "dog.csv").read_text() == "mine"


def test_a_file_that_comes_up_meanwhile_is_kept(
    found: list[Hit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(query: str, hits: list[Hit]):
        made = FORMATS[".csv"](query, hits)
        monkeypatch.setattr(export, "_check_free", lambda *a, **k: (tmp_path / "dog.jsonl").write_text("mine"))
        return made

    monkeypatch.setitem(FORMATS, ".jsonl", slow)
    with pytest.raises(ExportError, match="is there already and is kept"):
        write(found, tmp_path / "dog.jsonl")
    assert (tmp_path / "dog.jsonl").read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_file_systems_without_links(found: list[Hit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", link)
    write(found, tmp_path / "dog.csv")
    assert (tmp_path / "dog.csv").read_text().startswith("query,")
    monkeypatch.setattr(export, "_check_free", lambda *a, **k: None)
    with pytest.raises(ExportError, match="is there already"):
        write(found, tmp_path / "dog.csv")


def test_a_found_video_is_never_written_over(found: list[Hit], tmp_path: Path) -> None:
    own = make_clip(tmp_path / "01-x-0h00m00.0s.mp4")
    os.link(own, tmp_path / "x.mp4")
    own.unlink()
    (tmp_path / "01-x-0h00m00.0s.mp4").symlink_to(tmp_path / "x.mp4")
    with pytest.raises(ExportError, match="is one of the videos that were found"):
        write([Hit(str(tmp_path / "x.mp4"), 0.0, 1.0, 0.5, 0.5)], tmp_path, overwrite=True)


def test_names_that_mean_nothing(tmp_path: Path) -> None:
    for outs, sentence in (
        (["a.xlsx"], r"there is no format \.xlsx; the endings are \.jsonl, \.csv"),
        (["a.mp4"], "a name with / at its end is a folder for clips"),
        ([""], "the name of the file to write is empty"),
        (["a.csv", "./a.csv"], "is named twice"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            check_outs(outs)
    (tmp_path / "clips").write_text("a file")
    with pytest.raises(ExportError, match="is a file, and clips need a folder"):
        check_outs([str(tmp_path / "clips")])
    check_outs([str(tmp_path / "b.csv"), str(tmp_path), f"{tmp_path}/c/"])


def test_broken_videos_are_named_and_nothing_at_all_is_refused(found: list[Hit], tmp_path: Path) -> None:
    os.unlink(found[0].path)
    for number, out in enumerate(("clips/", "dog.edl", "dog.otio", "dog.png")):
        made = write(found, f"{tmp_path}/new{number}/{out}")
        assert sorted(type(one).__name__ for one in made) == ["BrokenFile", "Written"]
        with pytest.raises(ExportError, match="none of the videos can be read"):
            write(found[:1], f"{tmp_path}/none/{out}")
    assert not any(path.is_file() for path in (tmp_path / "none").rglob("*"))


def test_a_kill_leaves_no_half_file(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "long.mkv", frames=2000, options={"g": "2000", "bf": "0"})
    code = (
        "import sys; from reelseek.index.export import write_results; from reelseek.records import Hit\n"
        "list(write_results('a', [Hit(sys.argv[1], 0.1, 60, 1, 1)], sys.argv[2]))\n"
    )
    folder = tmp_path / "clips"
    process = subprocess.Popen([sys.executable, "-c", code, str(source), f"{folder}/"])
    deadline = time.monotonic() + 60
    while not list(folder.glob(".reelseek-*.part")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(folder.glob("*.mp4"))
    (left,) = folder.glob(".reelseek-*.part")
    write([Hit(str(source), 0.1, 0.2, 1, 1)], folder)
    assert left.exists(), "it may belong to a run that is under way"
    os.utime(left, (0, 0))
    write([Hit(str(source), 0.1, 0.2, 1, 1)], folder, overwrite=True)
    assert names(folder) == ["01-long-0h00m00.1s.mp4"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name in ("red", "green", "blue"):
        gradient(folder / f"{name}.mp4", COLOURS[name])
    assert run("index", folder, "--index", folder / "films.index").code == 0
    return folder / "films.index"


def search(index: Path, *words: object) -> Said:
    return run("search", "a", "red", "wall", "--index", index, *words)


def test_search_writes_what_it_shows(index: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"dog{ending}" for ending in FORMATS] + [f"{tmp_path}/clips/"]
    said = search(index, "--json", *(word for out in outs for word in ("--out", out)))
    assert said.code == 0, said
    shown = [json.loads(line) for line in said.out.splitlines()]
    rows = [json.loads(line) for line in (tmp_path / "dog.jsonl").read_text().splitlines()]
    assert rows == [{"query": "a red wall", "rank": rank, **row} for rank, row in enumerate(shown, 1)]
    with (tmp_path / "dog.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [row["path"] for row in shown]
    assert {path.name for path in tmp_path.glob("dog.*.srt")} == {
        f"dog.{name}.srt" for name in ("red", "green", "blue")
    }
    assert "FROM CLIP NAME: red.mp4" in (tmp_path / "dog.edl").read_text()
    assert json.loads((tmp_path / "dog.otio").read_text())["OTIO_SCHEMA"] == "Timeline.1"
    for ending in (".png", ".jpg", ".jpeg"):
        with Image.open(tmp_path / f"dog{ending}") as sheet:
            assert sheet.format == ("PNG" if ending == ".png" else "JPEG")
    for clip in names(tmp_path / "clips"):
        with av.open(str(tmp_path / "clips" / clip)) as container:
            assert container.duration / av.time_base == pytest.approx(2.0, abs=0.26)
    told = re.findall(r"^wrote (\S+)( \(copied; no sound\))?$", said.err, re.MULTILINE)
    assert len(told) == len(said.err.splitlines()) == len(FORMATS) + 4 + 3, "two more subtitles of each kind, and clips"
    assert sum(bool(how) for _, how in told) == 3


def test_search_without_json_writes_too_and_shows_the_same(index: Path, tmp_path: Path) -> None:
    plain = search(index)
    assert search(index, "--out", tmp_path / "a.csv") == plain._replace(err=f"wrote {tmp_path / 'a.csv'}\n")


def test_search_refuses_before_it_searches(index: Path, tmp_path: Path) -> None:
    assert "there is no format .doc" in refused(2, "search", "a", "--index", index, "--out", "a.doc")
    (tmp_path / "a.csv").write_text("mine")
    words = ["search", "a", "--index", index, "--out", tmp_path / "a.csv"]
    assert "is kept; name another file, or replace it with --overwrite." in refused(1, *words)
    assert (tmp_path / "a.csv").read_text() == "mine"
    assert run(*words, "--overwrite").code == 0
    assert (tmp_path / "a.csv").read_text().startswith("query,rank,path")
    assert "--cut" in refused(2, "search", "a", "--index", index, "--cut", "fast")


def test_search_cuts_as_asked(index: Path, tmp_path: Path) -> None:
    (one,) = [json.loads(line) for line in search(index, "-k", 1, "--json").out.splitlines()]
    film = gradient(tmp_path / "films" / "red.mp4", COLOURS["red"], frames=40)
    assert run("index", film.parent, "--index", tmp_path / "i", "--segment-frames", 4).code == 0
    hits = [json.loads(line) for line in search(tmp_path / "i", "--moments", "--json").out.splitlines()]
    assert one["start"] == 0
    exact = search(tmp_path / "i", "--moments", "--out", f"{tmp_path}/exact/")
    copied = search(tmp_path / "i", "--moments", "--out", f"{tmp_path}/copied/", "--cut", "copy")
    assert len(names(tmp_path / "exact")) == len(names(tmp_path / "copied")) == len(hits)
    assert "(copied" in copied.err
    assert "(encoded" not in copied.err
    late = [hit for hit in hits if hit["start"] > 0]
    assert exact.err.count("(encoded: the start lies between key frames; no sound)") == len(late)


def test_search_of_an_empty_index_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    assert run("index", tmp_path / "films", "--index", tmp_path / "i").code == 0
    said = search(tmp_path / "i", "--out", tmp_path / "a.csv")
    assert (said.code, said.out) == (0, "The index holds no video.\n")
    assert said.err == f"{tmp_path / 'a.csv'}: nothing is written\n"
    assert not (tmp_path / "a.csv").exists()


def test_videos_that_went_away_since_are_told(tmp_path: Path) -> None:
    for name in ("red", "blue"):
        gradient(tmp_path / "films" / f"{name}.mp4", COLOURS[name])
    assert run("index", tmp_path / "films", "--index", tmp_path / "i").code == 0
    (tmp_path / "films" / "red.mp4").unlink()
    said = search(tmp_path / "i", "--out", tmp_path / "a.png")
    assert said.code == 0
    assert re.search(r"^set aside: .*red\.mp4: does not exist$", said.err, re.MULTILINE)
    (tmp_path / "films" / "blue.mp4").unlink()
    assert "none of the videos can be read" in search(tmp_path / "i", "--out", f"{tmp_path}/clips/").err


def test_the_help_names_every_ending() -> None:
    told = run("search", "--help").out
    assert all(ending in told for ending in FORMATS if ending != ".jpeg")
