"""A way to a server that can be cut, stopped up, made half-open, or robbed of an answer."""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from contextlib import suppress
from typing import Final

SO_ATTACH_FILTER: Final = 26  # of Linux; Python has no name for it
# Classic BPF, one instruction: "return 0", keep nothing of the packet.
_DROP_ALL: Final = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))


class Proxy:
    """Forwards a free port of 127.0.0.1 to a server, until told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._swallow: tuple[bytes, int] | None = None
        self._open = threading.Event()
        self._open.set()
        self._hang_at: bytes | None = None
        self._deaf: list[socket.socket] = []
        self.swallowed = 0
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]

    def refuse(self) -> None:
        """Be a server that was stopped: connections end, new ones are refused."""
        # Ends the accept() that is going on, which close() alone would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def accept(self) -> None:
        """Be a server that was started again."""
        self._listener = self._listen(self.port)

    def cut(self) -> None:
        """End all connections, as a restart does."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _end(*pair)

    def go_deaf(self) -> int:
        """Make the connections half-open: not one packet of the client's is seen any more, nor
        acknowledged, and nobody tells it. New connections are served. Return how many.
        """
        with self._lock:
            pairs, self._pairs = self._pairs, []
        program = struct.pack("HP", 1, ctypes.addressof(_DROP_ALL))
        for client, _ in pairs:
            client.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        self._deaf += [client for client, _ in pairs]
        for _, server in pairs:
            # The server hears that its client is gone; the client hears nothing of the server.
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
        return len(pairs)

    def hang(self) -> None:
        """Take everything and forward nothing, on old connections and on new ones."""
        self._open.clear()

    def hang_at(self, word: bytes) -> None:
        """Do so from the next statement on that has this `word` in it."""
        self._hang_at = word

    @property
    def hangs(self) -> bool:
        """Whether it forwards nothing."""
        return not self._open.is_set()

    def go_on(self) -> None:
        """Forward again, what has come meanwhile too."""
        self._open.set()

    def swallow_answer(self, word: bytes, *, after: int = 0) -> None:
        """Let the server get the next statement that is `word`, but for the first `after` ones;
        then end the connection in place of handing on the answer.
        """
        self._swallow = (word, after)

    def close(self) -> None:
        """End everything."""
        self._open.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        _end(*self._deaf)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive(), "a thread of the proxy hangs"

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        self._start(self._serve, listener)
        return listener

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name="proxy", daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, server))
            robbed = threading.Event()
            self._start(self._forward, client, server, robbed)
            self._start(self._answer, server, client, robbed)

    def _forward(
        self, client: socket.socket, server: socket.socket, robbed: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self._hang_at is not None and self._hang_at in data.upper():
                    self._hang_at = None
                    self.hang()
                self._open.wait()
                if self._is_to_be_swallowed(data):
                    robbed.set()
                server.sendall(data)
        self._over(client, server)

    def _answer(
        self, server: socket.socket, client: socket.socket, robbed: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                self._open.wait()
                if robbed.is_set():
                    self.swallowed += 1
                    break
                client.sendall(data)
        self._over(client, server)

    def _is_to_be_swallowed(self, data: bytes) -> bool:
        with self._lock:
            if self._swallow is None or self._swallow[0] not in data.upper():
                return False
            word, after = self._swallow
            self._swallow = (word, after - 1) if after else None
            return after == 0

    def _over(self, client: socket.socket, server: socket.socket) -> None:
        with self._lock:
            ours = (client, server) in self._pairs
            if ours:
                self._pairs.remove((client, server))
        if ours:
            _end(client, server)
        else:
            # Cut already; or half-open, where the client must hear nothing.
            _end(server)


def _end(*pair: socket.socket) -> None:
    for each in pair:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
