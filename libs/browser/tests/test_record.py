"""What a recording plays, sees and says, in a real Chromium on real servers."""

import asyncio
import json
import socket
import subprocess
import sys
import zipfile
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest
from factory_browser import browser, record
from factory_browser.errors import PlanInvalid
from factory_browser.errors_seen import KnownErrors
from factory_browser.record import Plan, Recording
from factory_browser.scenarios import load, load_steps
from factory_browser.socks import SocksListener

Site = Any  # conftest.Site, which importlib's mode does not let be imported
Serve = Callable[[dict[str, Callable[[Any], Any]]], Site]


def page(body: str) -> str:
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>Help desk</title><body>{body}"


FORM = """
<h1>New ticket</h1>
<form id=new><label>Title <input name=title></label><input placeholder="Search" type=search>
<label>Priority <select><option value=n>normal<option value=u>urgent</select></label>
<label>Attachment <input type=file></label>
<label>Code <input value=007></label><button type=button data-testid=add>Add</button></form>
<ul id=list></ul><p hidden>Error 17</p>
<section aria-label=One><button type=button>Delete</button></section>
<section aria-label=Two><button type=button>Delete</button></section>
<a href=/other target=_blank>Other</a> <button type=button onclick="setTimeout(() => window.open('/other'), 400)">Later</button>
<script>
const add = text => { const li = document.createElement('li'); li.textContent = text; list.append(li) };
const [title, search] = document.querySelectorAll('input'), file = document.querySelector('[type=file]');
document.querySelector('[data-testid=add]').onclick = () => add(title.value + ' ' + document.querySelector('select').value);
search.onkeydown = e => { if (e.key === 'Enter') add('searched ' + search.value) };
document.onkeydown = e => { if (e.key === 'Escape') add('escaped') };
file.onchange = async () => add(file.files[0].name + ': ' + await file.files[0].text());
document.querySelectorAll('section button')[1].onclick = () => { if (confirm('Sure?')) add('deleted two') };
</script>"""

EVERY_STEP = """
scenarios:
  - name: Every kind of step
    criteria: [c1]
    steps:
      - goto: /new?x=1
      - fill: {label: Title, value: Printer jams}
      - select: {label: Priority, value: urgent}
      - click: {testid: add}
      - expect: {role: listitem, contains: Printer jams u}
      - fill: {placeholder: Search, value: chair}
      - press: {placeholder: Search, key: Enter}
      - press: {key: Escape}
      - expect: {text: searched chair}
      - upload: {label: Attachment, path: notes/a.txt}
      - expect: {css: "#list li", nth: -1, contains: "a.txt: hello"}
      - click: {role: button, name: Delete, within: {role: region, name: Two}}
      - expect: {role: listitem, count: 5}
      - expect: {text: deleted two, exact: true}
      - expect: {text: Error 17, visible: false}
      - expect: {label: Code, value: 007}
      - expect: {url: /new}
      - expect: {url: "/n*?x=1"}
      - expect: {title: help desk}
      - click: {role: link, name: Other}
      - expect: {role: heading, name: Elsewhere}
      - goto: /new
      - click: {role: button, name: Later}
      - expect: {role: heading, name: Elsewhere, timeout: 1}
      - goto: {service: api, path: /health}
      - expect: {text: fine}
"""


@pytest.fixture(scope="module")
def site(serve: Serve) -> Site:
    return serve(
        {
            "/new": lambda _: page(FORM),
            "/other": lambda _: page("<h1>Elsewhere</h1>"),
            "/health": lambda _: (200, {"content-type": "text/plain"}, "fine"),
            "/broken": lambda _: page(
                "<h1>Broken</h1><script>console.error('lost id 4711 at ' + Date.now()); noSuchThing()</script>"
            ),
            "/fetch": lambda _: page("<h1>Fetch</h1><script>fetch('/api/tickets/' + 99); fetch('/invalid')</script>"),
            "/api/tickets/99": lambda _: (500, {}, "oops"),
            "/invalid": lambda _: (422, {}, "no title"),
        }
    )


def plan(site: Site, out: Path, text: str, **more: object) -> Plan:
    urls = {"web": site.url, "api": site.url}
    given: dict[str, object] = {"film": False, "trace": False, **more}
    return Plan(urls=urls, primary="web", scenarios=load(text), out=out, **given)  # pyright: ignore[reportArgumentType]


async def test_every_kind_of_step(site: Site, tmp_path: Path) -> None:
    """Each action acts and each expectation sees; a confirm is accepted; a new tab is followed; a trace is left."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("hello")
    recording = await record.run(plan(site, tmp_path / "out", EVERY_STEP, files=tmp_path, trace=True))
    (result,) = recording.results
    assert result.ok, f"{result.step}: {result.error}\n{result.outline}"
    assert recording.ok and recording.video is None
    assert recording.screenshots == [tmp_path / "out" / "01-every-kind-of-step.png"]
    assert recording.trace and "0-trace.trace" in zipfile.ZipFile(recording.trace).namelist()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["01-every-kind-of-step.png", "trace.zip"]


FAILING = """
scenarios:
  - {name: a, criteria: [c1], steps: [{goto: /new}, {expect: {role: heading, name: Old ticket, timeout: 0.3}}]}
  - {name: b, criteria: [c2], steps: [{goto: /new}, {expect: {role: heading, contains: Old, timeout: 0.3}}]}
  - {name: c, criteria: [], steps: [{goto: /new}, {expect: {text: Error 17, timeout: 0.3}}]}
  - {name: d, criteria: [], steps: [{goto: /new}, {expect: {text: New ticket, visible: false, timeout: 0.3}}]}
  - {name: e, criteria: [], steps: [{goto: /new}, {expect: {role: button, count: 9, timeout: 0.3}}]}
  - {name: f, criteria: [], steps: [{goto: /new}, {click: {role: button, name: Delete, timeout: 0.5}}]}
  - {name: g, criteria: [], steps: [{goto: /new}, {fill: {label: Subject, value: x, timeout: 0.3}}]}
  - {name: h, criteria: [], steps: [{goto: {service: wbe}}]}
  - {name: i, criteria: [], steps: [{goto: "http://localhost:1/"}]}
  - {name: j, criteria: [], steps: [{goto: /new}, {upload: {label: Attachment, path: out/link}}]}
  - {name: k, criteria: [], steps: [{goto: /new}, {expect: {url: /tickets, timeout: 0.3}}]}
  - {name: l, criteria: [], steps: [{goto: /new}, {expect: {label: Code, value: "8", timeout: 0.3}}]}
  - {name: m, criteria: [], steps: [{goto: /new}, {expect: {text: New ticket}}]}
"""


async def test_a_failing_step_says_what_was_found_instead(site: Site, tmp_path: Path) -> None:
    """Each failure names what was seen; the others still run, each with its screenshot, and the agent gets an outline."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to("/etc/hostname")
    recording = await record.run(plan(site, tmp_path / "out", FAILING, files=tmp_path))
    said = {r.name: r.error for r in recording.results}
    assert said == {
        "a": "no heading “Old ticket” seen within 0.3 s",
        "b": "heading reads “New ticket”, not “Old”",
        "c": "no “Error 17” seen within 0.3 s; 1 in the page, but hidden",
        "d": "“New ticket” is still seen after 0.3 s",
        "e": "5 × button seen within 0.3 s, not 9",
        "f": "2 elements match: say which, with name, exact, within or nth",
        "g": "no “Subject” in the page within 0.3 s",
        "h": "no service “wbe” has a url; those that have: api, web",
        "i": said["i"],  # Chromium itself refuses port 1
        "j": "cannot upload out/link: it leads out of the repo",
        "k": f"the address is “{site.url}/new”",
        "l": "“Code” holds “007”, not “8”",
        "m": "",
    }
    assert "localhost:1" in said["i"] and not recording.ok
    first = recording.results[0]
    assert (first.step_index, first.step) == (1, "See heading “Old ticket”") and 'heading "New ticket"' in first.outline
    assert len(recording.screenshots) == 13 and all(s.read_bytes()[1:4] == b"PNG" for s in recording.screenshots)
    assert json.loads(json.dumps(recording.as_dict()))["results"][0]["error"] == said["a"]


async def test_only_errors_that_the_base_did_not_have_count(site: Site, serve: Serve, tmp_path: Path) -> None:
    """A run on the base makes its errors known at another port; a provoked 4xx is allowed; everything new counts."""
    steps = "[{goto: /broken}, {goto: /fetch}, {expect: {text: Fetch}}]"
    text = f"scenarios: [{{name: s, allow_status: [422], steps: {steps}}}]"
    base = await record.run(plan(site, tmp_path / "base", text))
    assert not base.ok and [s.text for s in base.page_errors] == ["noSuchThing is not defined"]
    assert [s.text.split(" at ")[0] for s in base.console_new] == ["lost id 4711"]
    assert [s.text for s in base.requests_new] == [f"GET {site.url}/api/tickets/99 500"]
    assert [s.text for s in base.requests_known] == [f"GET {site.url}/invalid 422"]

    head = serve(
        site.pages
        | {
            "/fetch": lambda _: page(
                "<h1>Fetch</h1><script>fetch('/api/tickets/99'); fetch('/gone'); console.error('new')</script>"
            )
        }
    )
    again = plan(head, tmp_path / "head", text, known=KnownErrors.from_dict(base.as_dict()["known"]))  # pyright: ignore[reportArgumentType]
    found = await record.run(again)
    assert [s.text for s in found.console_new] == ["new"] and len(found.console_known) == 1
    assert [s.text for s in found.requests_new] == [f"GET {head.url}/gone 404"]
    assert not found.page_errors and len(found.page_errors_known) == 1 and not found.ok


@pytest.fixture(scope="module")
def filmed(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A film of three scenarios, one of which fails, on a site that forbids inline styles and scripts."""
    rows = "<table><tr><td>Server down<td>urgent<tr><td>Printer jams<td>normal</table>"
    policy = {"content-security-policy": "default-src 'self'; require-trusted-types-for 'script'"}
    site = serve(
        {
            "/": lambda _: (
                200,
                policy,
                page("<h1>Sign in</h1><form action=/tickets><label>Email <input></label><button>Go</button></form>"),
            ),
            "/tickets": lambda _: (200, policy, page(f"<h1>Tickets</h1>{rows}")),
        }
    )
    text = """
scenarios:
  - name: Urgent first
    criteria: [c1, c2]
    steps: [{goto: /}, {fill: {label: Email, value: a@b.c}}, {click: {text: Go}}, {expect: {role: row, nth: 0, contains: urgent}}]
  - name: It fails
    criteria: [c3]
    steps: [{goto: /}, {expect: {text: Nothing, timeout: 0.5}}, {click: {text: Go}}]
  - {name: No criterion, steps: [{goto: /tickets}]}
"""
    out = tmp_path_factory.mktemp("film")
    return asyncio.run(
        record.run(plan(site, out, text, film=True, trace=True, chapter_titles={"c1": "Urgent tickets stand first"}))
    )


def test_the_film_plays_everywhere_and_has_its_chapters(filmed: Recording) -> None:
    """H.264 at the size asked for, a chapter for each criterion with its text, short, and still going after a failure."""
    video = filmed.video
    assert video and (video.codec, video.width, video.height) == ("h264", 1280, 720)
    told = [(c.title, c.criterion, c.scenario) for c in video.chapters]
    assert told == [
        ("Urgent tickets stand first", "c1", "Urgent first"),
        ("Urgent first", "c2", "Urgent first"),
        ("It fails", "c3", "It fails"),
        ("No criterion", None, "No criterion"),
    ]
    first, second, third, fourth = video.chapters
    assert (first.start, first.end) == (second.start, second.end) and first.start == 0
    assert first.end == third.start and third.end == fourth.start and abs(fourth.end - video.seconds) < 0.2
    assert 3 < first.end < 40 and [r.ok for r in filmed.results] == [True, False, True]
    assert not list(video.path.parent.glob("*.raw.mp4"))


def test_the_film_is_not_blank_and_shows_the_failure(filmed: Recording) -> None:
    """It begins with a dark card; the page comes at once as it is, without a white moment; a failure's caption is red."""
    assert filmed.video
    path, chapters = filmed.video.path, filmed.video.chapters

    width, height, rate = 160, 90, 4
    raw = ["-i", str(path), "-vf", f"fps={rate},scale={width}:{height},format=rgb24", "-f", "rawvideo", "-"]
    film = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *raw], capture_output=True, check=True
    ).stdout
    size, stage = width * height * 3, width * 80 * 3
    pictures = [film[at : at + size] for at in range(0, len(film), size)]

    def dark(picture: bytes) -> float:
        return sum(value < 90 for value in picture[:stage]) / stage

    cards = [pictures[0], *(pictures[int((c.start + 0.5) * rate)] for c in chapters[2:])]
    assert all(dark(card) > 0.8 for card in cards)
    strip = pictures[int((chapters[2].end - 0.5) * rate)][width * 84 * 3 :]
    assert any(strip[i] > strip[i + 1] + 40 for i in range(0, len(strip), 3)), "no red in the caption"
    assert all(len(set(picture[:stage])) > 4 for picture in pictures), "a blank moment"


def test_filming_makes_no_errors_of_its_own(filmed: Recording) -> None:
    """On a site with a strict content policy neither the pointer nor the frame round an element is refused."""
    assert (filmed.console_new, filmed.page_errors, filmed.requests_new) == ([], [], [])


def test_the_trace_opens_with_all_scenarios(filmed: Recording, tmp_path: Path) -> None:
    """Playwright's own reader finds the pages of all three in the one file."""
    assert filmed.trace

    def trace(*words: str) -> str:
        command = [sys.executable, "-m", "playwright", "trace", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "Pages:        3" in trace("open", str(filmed.trace))
    assert "Fill" in trace("actions")
    trace("close")


async def test_without_scenarios_the_urls_are_toured(site: Site, tmp_path: Path) -> None:
    """Each URL is opened and has a chapter; one that nobody answers is a failure."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://localhost:{free.getsockname()[1]}/"
        urls = {"web": f"{site.url}/new", "docs": dead}
        recording = await record.run(Plan(urls, "web", [], tmp_path, trace=False, size=(640, 480)))
    assert [r.ok for r in recording.results] == [True, False]
    assert recording.results[1].error == f"nothing answers at {dead}"
    assert recording.video and [c.title for c in recording.video.chapters] == [f"{s}: {u}" for s, u in urls.items()]


async def test_a_login_across_two_ports_through_the_listener(serve: Serve, tmp_path: Path) -> None:
    """`localhost` at ports where nobody listens is the job, for pages, for fetches with `Secure; SameSite=Lax` cookies and
    for its own names; the login runs once, off camera, and every scenario starts logged in."""
    with socket.socket() as one, socket.socket() as two:  # held, not listening: only the listener can answer for them
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        web_port, api_port = one.getsockname()[1], two.getsockname()[1]
        cors = {
            "access-control-allow-origin": f"http://localhost:{web_port}",
            "access-control-allow-credentials": "true",
        }
        call = (
            f"(p, o) => fetch('http://localhost:{api_port}' + p, {{credentials: 'include', ...o}}).then(r => r.text())"
        )
        shown = f"""<h1></h1><button>Log in</button><script>
            const call = {call}, show = () => call('/me').then(t => document.querySelector('h1').textContent = t);
            document.querySelector('button').onclick = () => call('/login', {{method: 'POST'}}).then(show);
            show();</script>"""
        web = serve({"/": lambda _: page(shown)})
        cookie = {"set-cookie": "sid=ada; Secure; HttpOnly; SameSite=Lax; Path=/"}
        api = serve(
            {
                "/login": lambda _: (200, cors | cookie, "ok"),
                "/me": lambda asked: (
                    200,
                    cors,
                    "Hello Ada" if "sid=ada" in asked.headers.get("cookie", "") else "Nobody",
                ),
            }
        )
        ports = {web_port: web.port, api_port: api.port}

        async def dial(port: int) -> tuple[StreamReader, StreamWriter]:
            return await asyncio.open_connection("127.0.0.1", ports[port])

        text = f"""
scenarios:
  - {{name: one, steps: [{{goto: /}}, {{expect: {{role: heading, name: Hello Ada}}}}]}}
  - {{name: two, steps: [{{goto: "http://127.0.0.1:{web_port}/"}}, {{expect: {{role: button}}}}]}}
  - {{name: name, steps: [{{goto: "http://web.j1.localhost:{web_port}/"}}, {{expect: {{role: button}}}}]}}
  - {{name: other job, steps: [{{goto: "http://web.j2.localhost:{web_port}/"}}, {{expect: {{role: button}}}}]}}
  - {{name: near, steps: [{{goto: "http://10.0.0.1/"}}]}}
"""
        urls = {"web": f"http://localhost:{web_port}", "api": f"http://localhost:{api_port}"}
        login = load_steps(
            "[{goto: /}, {expect: {text: Nobody}}, {click: {text: Log in}}, {expect: {text: Hello Ada}}]"
        )
        async with SocksListener(dial, ["j1.localhost"]) as way:
            made = Plan(urls, "web", load(text), tmp_path, proxy=way.url, login=login, film=False, trace=False)
            recording = await record.run(made)
            refused = list(way.refused)
    assert [(r.name, r.ok) for r in recording.results] == [
        ("one", True), ("two", True), ("name", True), ("other job", False), ("near", False),
    ], [r.error for r in recording.results]  # fmt: skip
    assert sum(a.path == "/login" for a in api.asked) == 1
    assert {r.partition(": ")[0] for r in refused} == {f"web.j2.localhost:{web_port}", "10.0.0.1:80"}


async def test_a_login_that_fails_ends_it(site: Site, tmp_path: Path) -> None:
    """Nothing is played without the login; the result says so, with a picture of where it stood."""
    login = load_steps("[{goto: /new}, {expect: {text: Dashboard, timeout: 0.3}}]")
    text = "scenarios: [{name: s, criteria: [c1], steps: [{goto: /new}]}]"
    recording = await record.run(plan(site, tmp_path, text, login=login, film=True))
    assert [(r.name, r.ok) for r in recording.results] == [("Log in", False), ("s", False)]
    assert recording.results[1].error == "not run: the login before it failed (no “Dashboard” seen within 0.3 s)"
    assert recording.video is None and len(recording.screenshots) == 1


async def test_webrtc_does_not_go_round_the_proxy() -> None:
    """A page that asks a STUN server by UDP gets no candidate, and not a packet leaves."""
    gather = """port => new Promise(async done => {
      const c = new RTCPeerConnection({iceServers: [{urls: 'stun:127.0.0.1:' + port}]}), found = [];
      c.createDataChannel('x');
      c.onicecandidate = e => e.candidate ? found.push(e.candidate.candidate) : done(found);
      await c.setLocalDescription(await c.createOffer());
      setTimeout(() => done(found), 1500);
    })"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stun:
        stun.bind(("127.0.0.1", 0))
        stun.setblocking(False)
        async with browser.opened("socks5://127.0.0.1:9") as chromium:
            tab = await (await browser.fresh(chromium, (640, 480))).new_page()
            assert await tab.evaluate(gather, stun.getsockname()[1]) == []
        with pytest.raises(BlockingIOError):
            stun.recv(1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"primary": "wbe"}, "the primary service “wbe” has no url"),
        ({"size": (1281, 720)}, "the size 1281x720 has a side that is odd"),
        ({"storage_state": Path(__file__)}, "test_record.py is no JSON"),
        ({"storage_state": Path("/nowhere.json")}, "the storage state /nowhere.json cannot be read: No such file"),
    ],
)
async def test_a_plan_that_cannot_be_used_is_refused_first(tmp_path: Path, change: dict[str, object], why: str) -> None:
    """Before any browser is started."""
    given: dict[str, object] = {
        "urls": {"web": "http://localhost:1"},
        "primary": "web",
        "scenarios": [],
        "out": tmp_path / "out",
    }
    with pytest.raises(PlanInvalid, match=why):
        await record.run(Plan(**(given | change)))  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("uid", "namespaces", "says"), [(0, True, False), (10001, True, True), (10001, False, False)])
def test_chromiums_own_sandbox_where_it_can_work(
    uid: int, namespaces: bool, says: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not for root, and not in a container that refuses user namespaces; anywhere else it is not given up."""
    unshare = tmp_path / "unshare"
    unshare.write_text(f"#!/bin/sh\nexit {0 if namespaces else 1}\n")
    unshare.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: uid)
    monkeypatch.setattr("sys.platform", "linux")
    assert browser._can_sandbox() is says
