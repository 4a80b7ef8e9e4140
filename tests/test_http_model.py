"""A model behind a server answers as it does here; servers that fail or lie are refused in a line; nothing is lost."""

import io
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from fakes import pictures

import shiftable as sh
from shiftable.auditing.scoring import leading, probabilities_and_evidence
from shiftable.cli import main
from shiftable.engine import in_batches
from shiftable.errors import InputError
from shiftable.models import Model, http_client, open_model
from shiftable.models.artefacts import Options
from shiftable.models.http_model import PLACED, from_http
from shiftable.models.http_settings import without_secrets

pytest.importorskip("httpx")

HERE = Path(__file__).parent.parent
SIZE = (8, 12)
DESCRIPTION = {"shiftable": 1, "view_size": list(SIZE), "scores": "logits", "preprocessing": {"resize_px": 16}}
CLASSES = 10
WEIGHTS = np.random.default_rng(0).normal(size=(SIZE[0] * SIZE[1] * 3, CLASSES)) / 300
VIEWS = np.random.default_rng(1).integers(0, 256, (37, *SIZE, 3), dtype=np.uint8)


def truth(views):
    """A linear model; row by row, so that a row does not depend on its batch."""
    return np.stack([view.ravel() @ WEIGHTS for view in views]).astype(np.float32)


def npy(array, **more):
    file = io.BytesIO()
    np.save(file, array, **more)
    return file.getvalue()


class Server:
    """On 127.0.0.1. ``answer`` is given the views and the number of the request, and returns an array, bytes,
    (status, headers, body), or None to drop the connection."""

    def __init__(self, answer=lambda views, _: truth(views), description=DESCRIPTION, port=0):
        self.answer, self.description = answer, description
        self.counts, self.headers, self.under_way, self.most_at_once, self.dead = [], [], 0, 0, False
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

            def do_GET(self):
                said = outer.description
                self.reply(said if isinstance(said, tuple) else (200, {}, json.dumps(said).encode()))

            def do_POST(self):
                views = np.load(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
                with lock:
                    number = len(outer.counts)
                    outer.counts.append(len(views))
                    outer.headers.append(dict(self.headers))
                    outer.under_way += 1
                    outer.most_at_once = max(outer.most_at_once, outer.under_way)
                try:
                    made = outer.answer(views, number)
                finally:
                    with lock:
                        outer.under_way -= 1
                made = npy(made) if isinstance(made, np.ndarray) else made
                self.reply((200, {}, made) if isinstance(made, bytes) else made)

            def reply(self, made):
                if made is None or outer.dead:
                    self.close_connection = True
                    return
                status, headers, body = made
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:  # the client has had enough
                    self.close_connection = True

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads, self.server.handle_error = True, lambda *_: None
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def stop(self):
        self.dead = True
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def serve():
    servers = []

    def serve(*arguments, **more):
        servers.append(Server(*arguments, **more))
        return servers[-1]

    yield serve
    for server in servers:
        if not server.dead:
            server.stop()


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(http_client, "FIRST_WAIT_S", 0.01)


def refused(url, views=None, **model_args):
    """The one line with which a server is refused, at opening or, given views, when it is asked."""
    model = open_model(url, model_args=model_args) if views is not None else None
    with pytest.raises(InputError) as caught:
        open_model(url, model_args=model_args) if model is None else model(views)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(url)
    assert "; " in message
    assert ("the same audit command goes on from here" in message) == (model is not None)
    return message


def later(nonsense, after=1):
    """A server's answer that is right at first."""
    return lambda views, number: truth(views) if number < after else nonsense(views) if callable(nonsense) else nonsense


# ── answers ──


def test_the_description_is_believed(serve):
    described = {
        **DESCRIPTION, "scores": "sigmoid", "class_names": [f"c{n}" for n in range(CLASSES)], "weights_sha256": "ab",
        "version": 3, "batch_size": 5, "size": {"parameters": 7, "bytes": 28, "layers": None}, "later": "ignored",
    }  # fmt: skip
    model = open_model(serve(lambda views, _: 1 / (1 + np.exp(-truth(views))), described).url)
    assert isinstance(model, Model)
    assert (model.view_size, model.scores, model.task, model.weights_sha256) == (SIZE, "sigmoid", "classify", "ab")
    assert (model.class_names[9], model.size["bytes"], model.preprocessing.resize_px) == ("c9", 28, 16)
    assert model.settings == {"views_per_request": 5, "version": 3}
    assert model.client["requests"] == 8
    assert model.batch_size % 5 == 0
    assert model.remarks == ()


@pytest.mark.parametrize("form", ["float32", "float64", "fortran", "big-endian", "json", "bare json"])
def test_answers_arrive_whatever_their_form(serve, form):
    forms = {
        "float32": truth, "float64": lambda views: truth(views).astype(float),
        "fortran": lambda views: np.asfortranarray(truth(views)),
        "big-endian": lambda views: truth(views).astype(">f4"),
        "json": lambda views: json.dumps({"scores": truth(views).tolist()}).encode(),
        "bare json": lambda views: json.dumps(truth(views).tolist()).encode(),
    }  # fmt: skip
    model = open_model(serve(lambda views, _: forms[form](views)).url)
    answer = model(VIEWS)
    assert answer.dtype == np.float32
    np.testing.assert_array_equal(answer, truth(VIEWS))
    np.testing.assert_array_equal(model(VIEWS[:, ::-1, ::-1]), truth(VIEWS[:, ::-1, ::-1]))
    assert model(VIEWS[:0]).shape == (0, CLASSES)


def test_order_is_kept_whatever_is_ready_first(serve):
    delays = np.random.default_rng(2).uniform(0, 0.03, 1000)

    def slow(views, number):
        time.sleep(delays[number])
        return truth(views)

    server = serve(slow)
    model = open_model(server.url, model_args={"views_per_request": 1})
    np.testing.assert_array_equal(model(VIEWS), truth(VIEWS))
    assert server.counts == [1] * (2 + 37)


def test_as_many_requests_as_agreed_are_under_way(serve):
    meeting = threading.Barrier(4)  # nobody is answered before there are four

    def meet(views, number):
        if number:
            meeting.wait(20)
            time.sleep(0.01)
        return truth(views)

    server = serve(meet)
    model = open_model(server.url, model_args={"views_per_request": 2, "requests": 4})
    np.testing.assert_array_equal(model(VIEWS[:32]), truth(VIEWS[:32]))
    assert server.most_at_once == 4
    assert server.counts == [2] * 17


def test_a_server_without_description_needs_the_users(serve):
    server = serve(description=(405, {}, b"only POST"))
    assert "give --preprocessing 'view_size=[H,W]' and --scores" in refused(server.url)
    model = open_model(server.url, preprocessing={"view_size": [*SIZE]})
    assert (model.view_size, model.scores, model.preprocessing.resize_px) == (SIZE, "logits", 9)
    assert "does not say how photographs become views" in model.remarks[1]
    assert "does not say which weights" in model.remarks[0]
    np.testing.assert_array_equal(model(VIEWS), truth(VIEWS))
    page = serve(description=(200, {}, b"<html>Welcome</html>"))
    assert open_model(page.url, preprocessing={"view_size": [*SIZE], "resize_px": 20}).preprocessing.resize_px == 20


def test_what_the_user_says_overrules(serve):
    server = serve()
    names = [f"c{n}" for n in range(CLASSES - 1)]
    model = open_model(server.url, class_offset=1, class_names=names, scores="sigmoid", task="embed")
    assert (model.class_names[0], model.scores, model.task) == ("c0", "sigmoid", "embed")
    np.testing.assert_array_equal(model(VIEWS), truth(VIEWS)[:, 1:])


# ── failures that pass ──


@pytest.mark.parametrize("failure", [None, (503, {}, b""), (429, {"Retry-After": "0"}, b"busy"), (502, {}, b"")])
def test_a_failure_that_passes_is_sat_out(serve, failure):
    failing = {1, 2, 4}
    server = serve(lambda views, number: failure if number in failing else truth(views))
    model = open_model(server.url, model_args={"requests": 1, "retries": 2})
    np.testing.assert_array_equal(model(VIEWS[:16]), truth(VIEWS[:16]))
    assert len(server.counts) == 1 + 2 + 3


@pytest.mark.parametrize(
    ("failure", "asked", "message"),
    [
        (None, 3, "the connection broke (Server disconnected without sending a response.), 3 times; start the server"),
        ((503, {}, b"<b>down</b>\nfor repair"), 3, "HTTP 503 (<b>down</b>), 3 times; look at the server's log"),
        ((429, {}, b""), 3, "HTTP 429 (nothing said), 3 times; ask less at once: --model-arg requests=1"),
        ((429, {"Retry-After": "7200"}, b""), 1, "HTTP 429, it asks to wait 7200 s; wait so long"),
        ((500, {}, b"\x1b[31mout of\tmemory"), 1, "HTTP 500 ([31mout ofmemory); look at the server's log"),
        ((400, {}, b"no"), 1, "HTTP 400 (no); check that the server speaks the protocol"),
        ((401, {}, b""), 1, "HTTP 401 (nothing said); give credentials by --model-arg header_env=VARIABLE"),
        ((413, {}, b""), 1, "send less at once: --model-arg views_per_request=1"),
        ((308, {"Location": "https://me:pw@x/y?key=pw"}, b""), 1, "HTTP 308, it redirects to https://x/y?key=…; give"),
        ((302, {"Location": "login"}, b""), 1, "/login; give the address it should be asked at"),
        ((302, {"Location": "http://["}, b""), 1, "HTTP 302, it redirects to nowhere"),
    ],
)  # fmt: skip
def test_a_failure_that_stays_is_told(serve, failure, asked, message):
    server = serve(later(failure))
    assert message in refused(server.url, VIEWS[:8], retries=2)
    assert len(server.counts) == 1 + asked


def test_patience_ends(serve):
    wake = threading.Event()

    def sleepy(views, number):
        return truth(views) if number < 1 or wake.wait(20) else None

    server = serve(sleepy)
    try:
        message = refused(server.url, VIEWS[:8], timeout_s=1, retries=1)
        assert "no answer within 1 s, 2 times; look at the server, or give it longer" in message
    finally:
        wake.set()


def test_an_answer_that_drips_is_not_waited_for(serve):
    """Every byte comes in time, the whole does not."""

    class Dripping(bytes):
        pass

    server = serve(later(Dripping(npy(truth(VIEWS[:8])))))
    handler = server.server.RequestHandlerClass
    reply = handler.reply

    def drip(self, made):
        if made is None or not isinstance(made[2], Dripping):
            return reply(self, made)
        self.send_response(200)
        self.send_header("Content-Length", str(len(made[2])))
        self.end_headers()
        try:
            for byte in made[2]:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            self.close_connection = True

    handler.reply = drip
    begin = time.monotonic()
    assert "no answer within 1 s" in refused(server.url, VIEWS[:8], timeout_s=1, retries=0)
    assert time.monotonic() - begin < 10  # all of it would take 22 s


def test_a_server_that_is_down_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    message = refused(f"http://127.0.0.1:{port}/", retries=1)
    assert "can't be reached ([Errno 111] Connection refused), 2 times; start the server, or check" in message


def test_after_one_failure_the_rest_is_not_asked(serve):
    server = serve(later((500, {}, b"")))
    refused(server.url, np.repeat(VIEWS, 20, axis=0), requests=2)
    assert len(server.counts) < 10  # of 93


def test_requests_of_other_threads_end_with_the_first_failure(serve, monkeypatch):
    """As an audit asks: a request a call. The wait for the next try is cut short, and nothing more is sent."""
    monkeypatch.setattr(http_client, "FIRST_WAIT_S", 60.0)
    busy = threading.Semaphore(0)

    def answer(views, number):
        if 1 <= number <= 3:
            busy.release()
            return 503, {}, b"busy"
        if number == 4:
            assert all(busy.acquire(timeout=20) for _ in range(3))
            time.sleep(0.1)  # the others wait by now
            return 500, {}, b"broken"
        return truth(views)

    server = serve(answer)
    model = open_model(server.url, model_args={"requests": 4, "retries": 9})
    rows = [(number, [view]) for number, view in enumerate(VIEWS[:4])]
    begin = time.monotonic()
    with pytest.raises(InputError, match=r"HTTP 500 \(broken\).*the same audit command goes on from here"):
        list(in_batches(rows, model, batch_size=1, at_once=4))
    assert time.monotonic() - begin < 20  # a wait alone would take 30 s
    assert len(server.counts) == 5
    found = [answers for _, answers in in_batches(rows, model, batch_size=1, at_once=4)]  # the same model, afresh
    np.testing.assert_array_equal(np.concatenate(found), truth(VIEWS[:4]))


def test_a_call_after_a_failure_is_as_patient_as_the_first(serve):
    server = serve(lambda views, number: {1: (500, {}, b""), 2: (503, {}, b"")}.get(number, truth(views)))
    model = open_model(server.url)
    for views in (VIEWS[:8], VIEWS):  # a request, several
        server.counts[:] = [0]
        with pytest.raises(InputError, match="HTTP 500"):
            model(views[:1])
        np.testing.assert_array_equal(model(views), truth(views))


# ── answers that are none ──


def test_the_logit_minus_infinity_leaves_a_class_out(serve):
    def masked(views):
        rows = truth(views)
        rows[:, [0, 3]] = -np.inf
        return rows

    model = open_model(serve(lambda views, _: masked(views)).url)
    answer, want = model(VIEWS), masked(VIEWS)
    assert np.isfinite(answer).all()
    np.testing.assert_array_equal(np.delete(answer, [0, 3], 1), np.delete(want, [0, 3], 1))
    shares, _ = probabilities_and_evidence(answer, "logits")
    assert (shares[:, [0, 3]] == 0).all()
    assert (np.sort(leading(answer, CLASSES)) == np.arange(CLASSES)).all()  # every class has a rank
    np.testing.assert_array_equal(leading(answer, CLASSES)[:, -2:], np.tile([0, 3], (len(VIEWS), 1)))
    described = {**DESCRIPTION, "task": "embed"}
    assert "answers NaN or infinity" in refused(serve(lambda views, _: masked(views), described).url)


@pytest.mark.parametrize(
    ("nonsense", "message"),
    [
        (b"<!doctype html>\n<p>hello", "neither .npy nor JSON: <!doctype html>; see docs/http.md"),
        (b"", "neither .npy nor JSON: nothing"),
        (b'{"error": "no GPU"}', 'JSON without "scores": {"error": "no GPU"}'),
        (b'{"scores": [[1, 2], [3]]}', "no rows of one length"),
        (b'{"scores": [["1", "2"]]}', "JSON scores that are no numbers"),
        (b'{"scores": [[null, 2]]}', "JSON scores that are no numbers"),
        (b"[" * 100_000, "neither .npy nor JSON"),
        (b"[1, 2, 3]", "scores of the shape (3,), not (view, class)"),
        (lambda views: npy(truth(views))[:-40], "a .npy that says (8, 10) and holds 280 bytes"),
        (lambda views: npy(truth(views))[:60], "a .npy whose header can't be read"),
        (lambda views: npy(truth(views)).replace(b"8, 10", b"-8,-1"), "a .npy that says (-8, -1)"),
        (lambda views: npy(truth(views)).replace(b"(8, 10), ", b"(10**9,2)"), "a .npy whose header can't be read"),
        (lambda views: npy(truth(views)).replace(b"(8, 10), }   ", b"(99999999,9)}"), "says (99999999, 9) and holds"),
        (npy(np.array([[{}]]), allow_pickle=True), "a .npy of type '|O', not of float32 or float64"),
        (pickle.dumps([[0.5]]), "neither .npy nor JSON"),
        (lambda views: (truth(views) > 0).astype(np.uint8), "a .npy of type '|u1', not of float32"),
        (lambda views: truth(views)[1:], "answers 8 views with the shape (7, 10), not (8, 10)"),
        (lambda views: truth(views)[:, 1:], "answers 8 views with the shape (8, 9), not (8, 10)"),
        (lambda views: truth(views) * np.nan, "answers NaN or infinity; look at its weights"),
        (lambda views: truth(views) + np.float64(1e300), "answers NaN or infinity"),
        (lambda views: truth(views) - np.inf, "answers NaN or infinity"),
        (lambda views: re.sub(r"-?[\d.]+", "NaN", str(truth(views).tolist()), count=1).encode(), "NaN or infinity"),
        (lambda views: re.sub(r"-?[\d.]+", "1, 1", str(truth(views).tolist()), count=1).encode(), "of one length"),
    ],
)  # fmt: skip
def test_nonsense_is_refused(serve, nonsense, message):
    server = serve(later(nonsense))
    assert message in refused(server.url, VIEWS[:8])
    assert len(server.counts) == 2  # and not asked again


def test_a_huge_answer_is_not_read(serve, monkeypatch):
    monkeypatch.setattr("shiftable.models.http_model.MOST_ANSWER", 2**20)
    assert "its answer is larger than 1 MiB" in refused(serve(later(b" " * (2**20 + 1))).url, VIEWS[:8])
    unsaid = later((200, {"Content-Length": "", "Transfer-Encoding": "chunked"}, b"200000\r\n" + b" " * 2**21))
    assert "its answer is larger than 1 MiB" in refused(serve(unsaid).url, VIEWS[:8])
    claims = later((200, {"Content-Length": str(10**15)}, b"x"))
    assert "its answer is larger than 1 MiB" in refused(serve(claims).url, VIEWS[:8])
    large = (200, {}, json.dumps({**DESCRIPTION, "class_names": ["x" * 2**20]}).encode())
    assert "its answer is larger than 1 MiB" in refused(serve(description=large).url)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shiftable": 2}, "speaks version 2 of the protocol, this is version 1; update one of them"),
        ({"view_size": None}, "its description's view_size can't be None; say [height, width] in px"),
        ({"view_size": [0, 5]}, "its description's view_size can't be (0, 5)"),
        ({"view_size": [10**6, 10**6]}, "its description's view_size can't be (1000000, 1000000)"),
        ({"view_size": "224"}, "its description's view_size can't be 224"),
        ({"view_size": [224.5, 1]}, "its description's view_size can't be 224.5"),
        ({"scores": "odds"}, "its description's scores can't be odds"),
        ({"scores": "probabilities"}, "its description says probabilities, its answers reach from"),
        ({"task": "detect"}, "its description's task can't be detect"),
        ({"batch_size": 0}, "its description's batch_size can't be 0"),
        ({"batch_size": True}, "its description's batch_size can't be True"),
        ({"class_names": "cat"}, "its description's class_names can't be cat"),
        ({"size": {"bytes": "many"}}, "its description's size can't be many"),
        ({"preprocessing": {"resizer": 3}}, "(its description): unknown preprocessing field 'resizer'"),
        ({"preprocessing": {"resize_px": 4}}, "images are resized to 4 px, less than its view"),
        ({"preprocessing": [3]}, "its description's preprocessing can't be [3]"),
        ({"preprocessing": {"mean": 3}}, "(its description): mean can't be 3"),
        ({"version": "\ud800"}, "its description's JSON can't be"),
    ],
)
def test_a_description_that_says_nonsense_is_refused(serve, change, message):
    server = serve(description={**DESCRIPTION, **change})
    with pytest.raises(InputError) as caught:
        open_model(server.url)
    assert message in str(caught.value)
    assert str(caught.value).startswith(server.url)


def test_what_pixels_become_is_the_servers_business(serve):
    numbers = {"mean": [0.5], "std": [0.5], "color_order": "BGR", "layout": "NCHW", "dtype": "float32"}
    server = serve(description={**DESCRIPTION, "preprocessing": {"resize_px": 16, "crop": "center-down", **numbers}})
    model, plain = open_model(server.url), open_model(serve().url)
    assert model.preprocessing == replace(plain.preprocessing, crop="center-down")
    assert (model.preprocessing.color_order, model.preprocessing.dtype) == ("RGB", "uint8")
    assert model.remarks == plain.remarks
    np.testing.assert_array_equal(model(VIEWS), truth(VIEWS))
    for name, value in numbers.items():
        with pytest.raises(InputError, match=f"{name} is not for servers; leave it out of --preprocessing") as caught:
            open_model(server.url, preprocessing={name: value})
        assert "\n" not in str(caught.value)
    silent = serve(description={**DESCRIPTION, "preprocessing": numbers})
    assert "does not say how photographs become views" in open_model(silent.url).remarks[-1]


def test_names_that_do_not_fit_are_left_out(serve):
    assert open_model(serve(description={**DESCRIPTION, "class_names": ["a"]}).url).class_names is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"request": 3}, "unknown model argument 'request'; did you mean requests"),
        ({"header": "A: b"}, "did you mean header_env?"),
        ({"requests": 0}, "requests can't be 0; give a number from 1 to 256"),
        ({"requests": 2.5}, "requests can't be 2.5"),
        ({"retries": True}, "retries can't be True"),
        ({"timeout_s": float("nan")}, "timeout_s can't be nan"),
        ({"timeout_s": "long"}, "timeout_s can't be 'long'"),
        ({"header_env": "NOT_SET"}, "the environment variable NOT_SET is not set; export NOT_SET='Name: value'"),
        ({"header_env": "SET"}, "the environment variable SET is no header"),
        ({"header_env": "CONTROL"}, "the environment variable CONTROL is no header"),
    ],
)
def test_settings_are_checked(monkeypatch, change, message):
    monkeypatch.setenv("SET", "hush")
    monkeypatch.setenv("CONTROL", "Authorization: hu\x01sh")
    said = refused("http://127.0.0.1:9/", **change)
    assert message in said
    assert "hu" not in said


@pytest.mark.parametrize("url", ["http://", "http://:80/", "http://host:port/", "http://[::1/", "http://a b/"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InputError, match="this is no address; write http://HOST:PORT/PATH"):
        from_http(url, Options())


def test_a_device_is_not_for_servers(serve):
    with pytest.raises(InputError, match="--device is for models that run here"):
        open_model(serve().url, device="cuda")


# ── as a whole ──


def rows(folder):
    return [row for part in sh.read_parts(folder) for row in part.table.to_pylist()]


def test_an_audit_finds_what_it_finds_here(serve, tmp_path):
    pytest.importorskip("torch")
    demo, one_at_a_time = open_model("demo"), threading.Lock()

    def answer(views, _):
        with one_at_a_time:
            return demo(views)

    described = {
        "shiftable": 1, "view_size": demo.view_size, "scores": demo.scores, "class_names": demo.class_names,
        "preprocessing": demo.preprocessing.to_json(), "weights_sha256": demo.weights_sha256,
        "size": demo.size,
    }  # fmt: skip
    served = open_model(serve(answer, described).url)
    here = sh.audit(demo, "shapes", count=6, batch_size=8, out=tmp_path / "here")
    there = sh.audit(served, "shapes", count=6, out=tmp_path / "there")
    assert rows(there.folder) == rows(here.folder)
    one, other = (json.loads((audit.folder / "audit.json").read_text()) for audit in (here, there))
    assert other["model"].pop("spec") == served.spec
    assert one["model"].pop("spec") == "demo"
    for audit in (one, other):  # what pixels become is the server's business
        fed = audit["model"]["preprocessing"]
        audit["model"]["preprocessing"] = {name: fed[name] for name in PLACED}
    assert other == one


def command(server, out, *more):
    """An audit of 24 images × 41 views, in 246 requests and three shards."""
    asked = ["audit", server.url, "shapes", "--images", "24", "--batch-size", "4", "--model-arg", "requests=2"]
    return main([*asked, "--out", str(out), *more])


def test_a_server_that_dies_half_way_costs_nothing(serve, tmp_path, capsys):
    server = serve()
    assert command(server, tmp_path / "whole") == 0

    def dying(views, number):
        server.dead = server.dead or number > 180
        return truth(views)

    server.answer = dying
    server.counts.clear()
    capsys.readouterr()
    assert command(server, tmp_path / "parts", "--model-arg", "retries=1") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith(f"shiftable: {server.url}: the connection broke")
    assert "start the server, or check the address; then the same audit command goes on from here" in err
    server.stop()
    assert command(server, tmp_path / "parts", "--model-arg", "retries=0") == 2
    assert "can't be reached" in capsys.readouterr().err
    done = sorted((tmp_path / "parts" / "predictions").glob("part-*"))
    assert 0 < len(done) < 3
    before = [path.stat().st_mtime_ns for path in done]

    again = serve(port=server.port)
    assert command(again, tmp_path / "parts", "--model-arg", "timeout_s=60") == 0  # more patience is no other audit
    assert [path.stat().st_mtime_ns for path in done] == before
    assert (tmp_path / "parts" / "audit.json").read_bytes() == (tmp_path / "whole" / "audit.json").read_bytes()
    assert sum(again.counts) < 2 * 8 * 41 + 8


def test_an_audit_goes_on_with_another_number_of_requests(serve, tmp_path, capsys):
    server = serve()
    assert command(server, tmp_path / "whole") == 0

    def failing(views, number):
        return truth(views) if number < 180 else (500, {}, b"")

    server.answer = failing
    server.counts.clear()
    assert command(server, tmp_path / "parts") == 2
    done = list((tmp_path / "parts" / "predictions").glob("part-*"))
    assert 0 < len(done) < 3
    server.answer = lambda views, _: truth(views)
    assert command(server, tmp_path / "parts", "--model-arg", "requests=1") == 0
    assert (tmp_path / "parts" / "audit.json").read_bytes() == (tmp_path / "whole" / "audit.json").read_bytes()
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    assert len(rows(tmp_path / "parts")) == 24 * 41


def test_another_version_of_the_model_does_not_go_on(serve, tmp_path):
    server = serve(description={**DESCRIPTION, "version": "a"})
    sh.audit(server.url, pictures(3), out=tmp_path)
    server.description = {**DESCRIPTION, "version": "b"}
    with pytest.raises(InputError, match="begun with version a, this is b"):
        sh.audit(server.url, pictures(3), out=tmp_path)


def test_secrets_are_sent_and_not_written(serve, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MODEL_HEADER", "X-Api-Key: hush1\nX-Other: hush2")
    server = serve(later((500, {}, b""), after=40))
    secret = server.url.replace("://", "://me:hush3@") + "predict?model=a&key=hush4&hush5"
    model = open_model(secret, model_args={"header_env": "MODEL_HEADER"})
    assert model.spec == f"{server.url}predict?model=a&key=…&…"
    assert "hush" not in repr(model)
    sent = server.headers[0]
    assert (sent["X-Api-Key"], sent["X-Other"], sent["Authorization"][:6]) == ("hush1", "hush2", "Basic ")
    out = tmp_path / "audit"
    arguments = ["audit", secret, "shapes", "--model-arg", "header_env=MODEL_HEADER", "--out", str(out)]
    assert main([*arguments, "--images", "3", "--batch-size", "8"]) == 0
    assert main([*arguments, "--images", "9", "--batch-size", "8", "--overwrite"]) == 2
    assert "hush" not in "".join(capsys.readouterr())
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {"run.json", "part-00000.parquet"} <= {path.name for path in files} | {"part-00000.parquet"}
    assert not any(b"hush" in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("model=a;key=SECRET", "model=a&key=…"),
        ("a;SECRET;model=b.1-c", "…&…&model=b.1-c"),
        ("model=a%3Bkey=SECRET", "model=…"),
        ("model=a,SECRET&version=", "model=…&version="),
    ],
)
def test_a_query_shows_plain_words_of_harmless_names_only(query, shown):
    assert without_secrets(f"HTTP://me:SECRET@host:1/p?{query}") == f"http://host:1/p?{shown}"


def test_sockets_and_threads_go_with_the_model(serve):
    server = serve()
    model = open_model(server.url)
    model(VIEWS)
    client, threads = model.connection._http, list(model.connection._pool._threads)
    assert threads
    del model
    for thread in threads:
        thread.join(10)
    assert client.is_closed
    assert not any(thread.is_alive() for thread in threads)


# ── servers that users start ──


def started(arguments, ready):
    """A server's process, and what it says when it is ready."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        return process, ready(process)
    except BaseException:
        process.kill()
        process.communicate()
        raise


def stopped(process):
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def test_the_example_server_serves():
    import httpx

    pytest.importorskip("torch")
    pytest.importorskip("uvicorn")
    process, url = started(["examples/http_server.py", "demo", "--port", "0"], lambda it: it.stdout.readline().strip())
    try:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
        served, demo = open_model(url), open_model("demo")
        for name in ("view_size", "scores", "class_names", "weights_sha256", "size"):
            assert getattr(served, name) == getattr(demo, name)
        for name in PLACED:
            assert getattr(served.preprocessing, name) == getattr(demo.preprocessing, name)
        views = np.random.default_rng(0).integers(0, 256, (40, *demo.view_size, 3), dtype=np.uint8)
        here = np.concatenate([demo(views[at : at + 8]) for at in range(0, 40, 8)])
        np.testing.assert_array_equal(served(views), here)
        for body, status, reason in [
            (b"hello", 400, "not a .npy"),
            (npy(views[:, 1:]), 400, "views are uint8 (n, 64, 64, 3), not uint8 (40, 63, 64, 3)"),
            (npy(views[:9].astype(np.float32)), 400, "not float32"),
            (npy(views)[:-1], 400, "(40, 64, 64, 3) in 491519 bytes"),
            (npy(views).replace(b"(40, ", b"(2**9"), 400, "not a .npy"),
            (npy(np.array([{}]), allow_pickle=True), 400, "not object"),
            (npy(np.repeat(views, 2, axis=0)), 413, "more than 64 views"),
        ]:
            answer = httpx.post(url, content=body, trust_env=False)
            assert (answer.status_code, reason in answer.text) == (status, True), answer.text
        np.testing.assert_array_equal(served(views), here)
        taken = subprocess.run(
            [sys.executable, "examples/http_server.py", "demo", "--port", str(httpx.URL(url).port)],
            cwd=HERE, capture_output=True, text=True,
        )  # fmt: skip
        assert (taken.returncode, taken.stderr.count("\n")) == (2, 1)
    finally:
        stopped(process)


def test_the_server_of_the_docs_serves(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (HERE / "docs" / "http.md").read_text(), re.DOTALL)
    (code,) = [block for block in blocks if "http.server" in block]
    (tmp_path / "server.py").write_text(code)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process, _ = started([str(tmp_path / "server.py"), str(port)], lambda _: None)
    try:
        model = open_model(f"http://127.0.0.1:{port}/", model_args={"retries": 12})  # it starts meanwhile
        assert (model.class_names, model.scores) == (("red", "green", "blue"), "sigmoid")
        views = np.random.default_rng(0).integers(0, 256, (20, *model.view_size, 3), dtype=np.uint8)
        np.testing.assert_allclose(model(views), views.mean((1, 2)) / 255, rtol=1e-6)
        audit = sh.audit(model, "shapes", count=2, steps=5)
        assert audit.controls["still"]["p_top1_change"].value == 0
    finally:
        stopped(process)
