"""Ask a server over HTTP: several requests at once, again after failures that may pass, answers of bounded size."""

import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from shiftable.errors import InputError, missing_extra
from shiftable.models.http_settings import Client, without_secrets
from shiftable.models.reasons import reason
from shiftable.models.wire import first_line

if TYPE_CHECKING:
    import httpx

Made = TypeVar("Made")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
"""Before the first retry, and at most. Every wait is twice the one before, times a random 0.5 to 1."""

KEEP_IDLE_S = 3.0
"""Idle connections are given up before servers do so (5 s is common), lest a request is lost on the way."""

AGAIN = (429, 502, 503, 504)
"""Answers that say: not now."""


@dataclass(frozen=True)
class Answer:
    """What a server said: status, headers with names in lower case, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Round:
    """Requests under way together: once one has failed for good, no other is sent, or sent again."""

    def __init__(self) -> None:
        self.calls = 0
        self.over = threading.Event()
        self.failure: InputError | None = None

    def end(self, error: BaseException) -> None:
        """Called for the first failure, and for all that follow from it."""
        if not self.over.is_set():
            self.failure = error if isinstance(error, InputError) else None
            self.over.set()


class Connection:
    """A server that can be asked, from several threads. Its sockets and threads go when nobody refers to it any more.

    Calls that overlap in time fail together: when a request of one fails for good, the others wait for no answer but
    those under way, and fail with the same words. A call that begins when none is under way starts afresh.

    Args:
        url: The address, secrets included.
        client: How to ask.
        headers: Sent along with every request.
    """

    def __init__(self, url: str, client: Client, headers: Mapping[str, str]) -> None:
        self.client, self.where = client, without_secrets(url)
        parts = urlsplit(url)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        user = (unquote(parts.username or ""), unquote(parts.password or "")) if "@" in parts.netloc else None
        self._http = _open(self._url, client, {**headers, "Accept-Encoding": "identity"}, user, self.where)
        self._pool = ThreadPoolExecutor(client.requests, thread_name_prefix="http")
        self._lock, self._round = threading.Lock(), _Round()
        weakref.finalize(self, _close, self._http, self._pool)

    def get(self, most_bytes: int) -> Answer:
        """The server's answer to GET, whatever its status."""
        return self._again(_Round(), "GET", None, {"Accept": "application/json"}, most_bytes)

    def post_all(
        self, bodies: Sequence[Callable[[], bytes]], headers: Mapping[str, str], most_bytes: int,
        read: Callable[[int, bytes], Made],
    ) -> list[Made]:  # fmt: skip
        """POST requests, as many at once as the client's settings say.

        Args:
            bodies: Make the body of each, when its turn comes.
            headers: Sent along with each.
            most_bytes: An answer may have.
            read: Given the number of a request and the body of its answer; what it returns is the result.

        Returns:
            The results, in the order of the requests.

        Raises:
            InputError: The failure of a request, of this call or of one that overlaps with it; those that wait are then
                not sent, those that fail not again.
        """
        with self._joined() as together:

            def ask(number: int) -> Made:
                try:
                    answer = self._again(together, "POST", bodies[number](), headers, most_bytes)
                    if answer.status != 200:
                        raise self.refusal(answer)
                    return read(number, answer.body)
                except BaseException as error:
                    together.end(error)
                    raise

            if len(bodies) == 1:  # callers that ask from threads of their own
                return [ask(0)]
            waiting = [self._pool.submit(ask, number) for number in range(len(bodies))]
            try:
                done, _ = wait(waiting, return_when=FIRST_EXCEPTION)
                for failed in (future for future in waiting if future in done and future.exception()):
                    failed.result()
                return [future.result() for future in waiting]
            except BaseException as error:  # Ctrl-C, too
                together.end(error)
                for future in waiting:
                    future.cancel()
                raise

    @contextmanager
    def _joined(self) -> Iterator[_Round]:
        """The round of the calls under way; a new one for the first."""
        with self._lock:
            if not self._round.calls:
                self._round = _Round()
            together = self._round
            together.calls += 1
        try:
            yield together
        finally:
            with self._lock:
                together.calls -= 1

    def refusal(self, answer: Answer) -> InputError:
        """The error for an answer that is none: its status, what it says, what to do."""
        status = answer.status
        if 300 <= status < 400:
            return self.error(
                f"HTTP {status}, it redirects to {self._target(answer)}", "give the address it should be asked at"
            )
        return self.error(f"HTTP {status} ({first_line(answer.body) or 'nothing said'})", _advice(status))

    def _target(self, answer: Answer) -> str:
        try:
            return without_secrets(urljoin(self._url, answer.headers["location"]))
        except (KeyError, ValueError):
            return "nowhere"

    def error(self, what: str, todo: str) -> InputError:
        """An error that names this server."""
        return InputError(what, where=self.where, todo=todo)

    def _again(
        self, together: _Round, method: str, body: bytes | None, headers: Mapping[str, str], most_bytes: int
    ) -> Answer:
        """The answer, asked for again after failures that may pass."""
        import httpx

        passing = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)
        failure = self.error("was not asked", "ask again")
        for sent in range(1, self.client.retries + 2):
            if together.over.is_set():
                raise together.failure or failure
            wait_s = min(FIRST_WAIT_S * 2 ** (sent - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1)
            try:
                answer = self._once(method, body, headers, most_bytes)
            except passing as error:
                failure = self._failure(error, sent)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise self.error(f"can't be asked ({reason(error)})", "check the address") from None
            else:
                if answer.status not in AGAIN:
                    return answer
                refusal = self.refusal(answer)
                failure = self.error(f"{refusal.what}{_times(sent)}", str(refusal.todo))
                asked_s = retry_after_s(answer.headers.get("retry-after", ""))
                if asked_s > LONGEST_WAIT_S:
                    raise self.error(f"HTTP {answer.status}, it asks to wait {asked_s:.0f} s", "wait so long")
                wait_s = max(wait_s, asked_s)
            if sent <= self.client.retries:
                together.over.wait(wait_s)
        raise failure

    def _once(self, method: str, body: bytes | None, headers: Mapping[str, str], most_bytes: int) -> Answer:
        """One request. An answer that would be larger than ``most_bytes`` is not read to its end."""
        import httpx

        deadline = time.monotonic() + self.client.timeout_s
        with self._http.stream(method, self._url, content=body, headers=dict(headers)) as response:
            told = response.headers.get("content-length", "")
            chunks: list[bytes] = []
            have = int(told) if told.isdecimal() else 0
            if have <= most_bytes:
                have = 0
                for chunk in response.iter_bytes():
                    chunks.append(chunk)
                    have += len(chunk)
                    if have > most_bytes:
                        break
                    if time.monotonic() > deadline:  # httpx counts from the last byte: a drop now and then would do
                        raise httpx.ReadTimeout("")
            if have > most_bytes:
                raise self.error(
                    f"its answer is larger than {most_bytes / 2**20:g} MiB", "check that it is a model's address"
                )
            return Answer(response.status_code, response.headers, b"".join(chunks))

    def _failure(self, error: Exception, sent: int) -> InputError:
        import httpx

        if isinstance(error, httpx.TimeoutException):
            return self.error(
                f"no answer within {self.client.timeout_s:g} s{_times(sent)}",
                "look at the server, or give it longer by --model-arg timeout_s=…, or less by requests=…",
            )
        what = "can't be reached" if isinstance(error, httpx.ConnectError) else "the connection broke"
        return self.error(f"{what} ({reason(error)}){_times(sent)}", "start the server, or check the address")


def retry_after_s(text: str) -> float:
    """Seconds that a ``Retry-After`` asks to wait: a number or a date; 0 where it is neither.

    Example:
        >>> retry_after_s("7"), retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT"), retry_after_s("soon")
        (7.0, 0.0, 0.0)
    """
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _times(sent: int) -> str:
    return "" if sent == 1 else f", {sent} times"


def _advice(status: int) -> str:
    """What to do about an HTTP status."""
    if status in (401, 403):
        return "give credentials by --model-arg header_env=VARIABLE, the variable holding 'Authorization: …'"
    if status in (404, 405, 501):
        return "check the address: it must take POST"
    if status == 413:
        return "send less at once: --model-arg views_per_request=1"
    if status == 429:
        return "ask less at once: --model-arg requests=1"
    return "look at the server's log" if status >= 500 else "check that the server speaks the protocol of docs/http.md"


def _open(url: str, client: Client, headers: Mapping[str, str], user: tuple[str, str] | None, where: str) -> Any:
    try:
        import httpx
    except ImportError:
        raise missing_extra("httpx", "http") from None
    # A proxy set for the world outside must not be shown what stays on this machine.
    local = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1") and url.startswith("http:")
    limits = httpx.Limits(
        max_connections=client.requests, max_keepalive_connections=client.requests, keepalive_expiry=KEEP_IDLE_S
    )
    try:
        return httpx.Client(headers=headers, auth=user, timeout=client.timeout_s, limits=limits, trust_env=not local)
    except (ImportError, ValueError, OSError) as error:
        raise InputError(
            f"can't be asked ({reason(error)})", where=where, todo="look at the environment's proxy and certificates"
        ) from None


def _close(client: "httpx.Client", pool: ThreadPoolExecutor) -> None:
    pool.shutdown(wait=False, cancel_futures=True)
    client.close()
