"""muxd's IPC protocol spoken by hand, for tests: whole frames, half frames, wrong frames.

    session = Session()                         # connects to $MUXD_SOCKET
    session.hello()                             # waits for Welcome
    session.send(Frame(...), payload)           # one frame
    frame, payload = session.receive()
    session.expect_error("session", 504, "...")

A script ends with `finish()`; check() prints the lines that lib.sh counts.
"""
import os
import select
import socket
import struct
import sys
import time

import muxd_pb2 as pb

Client, Server = pb.ClientFrame, pb.ServerFrame
WAIT_SECONDS = 20
bad = 0


def check(sentence, good, detail=""):
    global bad
    if good:
        print(f"ok: {sentence}")
    else:
        bad += 1
        print(f"FAILED: {sentence}" + (f": {detail}" if detail != "" else ""))
    return good


def finish():
    sys.exit(1 if bad else 0)


class Closed(Exception):
    """muxd has closed the session."""


class Session:
    def __init__(self, path=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(WAIT_SECONDS)
        self.socket.connect(path or os.environ["MUXD_SOCKET"])
        self.buffer = b""
        self.request = 0
        self.spent_messages = 0
        self.spent_bytes = 0
        self.credit = (64, 16384)
        self.welcome = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def raw(self, data):
        """Sends bytes; muxd may have closed its end."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    @staticmethod
    def encode(frame, payload=b"", payload_len=None):
        header = frame if isinstance(frame, bytes) else frame.SerializeToString()
        return struct.pack(">II", len(header), len(payload) if payload_len is None else payload_len) + header + payload

    def send(self, frame, payload=b""):
        if not isinstance(frame, bytes) and frame.HasField("publish"):
            self.spent_messages += 1
            self.spent_bytes += frame.ByteSize() + len(payload)
        self.raw(self.encode(frame, payload))

    def fill(self, count):
        while len(self.buffer) < count:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed
            self.buffer += data

    def receive(self):
        self.fill(8)
        header_len, payload_len = struct.unpack(">II", self.buffer[:8])
        self.fill(8 + header_len + payload_len)
        frame = Server.FromString(self.buffer[8:8 + header_len])
        payload = self.buffer[8 + header_len:8 + header_len + payload_len]
        self.buffer = self.buffer[8 + header_len + payload_len:]
        if frame.HasField("credit"):
            self.credit = (frame.credit.messages, frame.credit.bytes)
        return frame, payload

    def is_readable(self, seconds):
        """select() knows no more than 1024 descriptors."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(max(0, seconds) * 1000))

    def wait(self, accept, seconds=WAIT_SECONDS):
        """Reads until accept(frame) is true; gives that frame and its payload."""
        end = time.monotonic() + seconds
        while True:
            if not self.buffer and not self.is_readable(end - time.monotonic()):
                raise TimeoutError("muxd has not answered")
            frame, payload = self.receive()
            if accept(frame):
                return frame, payload

    def hello(self, **fields):
        fields.setdefault("version_min", 1)
        fields.setdefault("version_max", 1)
        fields.setdefault("program", b"ipc.py")
        fields.setdefault("get_bytes", 64 << 20)
        self.send(Client(hello=pb.Hello(**fields)))
        frame, _ = self.receive()
        if frame.HasField("welcome"):
            self.welcome = frame.welcome
            self.credit = (frame.welcome.credit.messages, frame.welcome.credit.bytes)
        return frame

    def ask(self, payload=b"", seconds=WAIT_SECONDS, **fields):
        """Sends a request, gives its answer."""
        self.request += 1
        number = self.request
        self.send(Client(request=number, **fields), payload)
        return self.wait(lambda frame: frame.request == number, seconds)

    def open(self, channel, generation=1):
        self.send(Client(channel=channel, channel_open=pb.ChannelOpen(generation=generation)))

    def publish(self, channel, key, body, exchange=b"", **fields):
        self.send(Client(channel=channel, publish=pb.Publish(exchange=exchange, routing_key=key, **fields)), body)

    def want(self, size):
        """Asks for credit for a publish of that size, and waits for it."""
        while self.credit[1] - self.spent_bytes < size or self.credit[0] <= self.spent_messages:
            self.send(Client(want=pb.Want(messages=self.spent_messages + 1, bytes=self.spent_bytes + size)))
            self.wait(lambda frame: frame.HasField("credit"))

    def ends(self):
        """Reads to the end of the stream; gives the session error, or None."""
        error = None
        try:
            while True:
                frame, _ = self.receive()
                if frame.HasField("error") and frame.error.scope == pb.SESSION:
                    error = frame.error
        except Closed:
            return error
        except TimeoutError:
            return None

    def is_alive(self):
        try:
            return self.ask(ping=pb.Ping())[0].HasField("done")
        except (Closed, TimeoutError):
            return False


def describe(error):
    return "no error" if error is None else f"{error.code} {error.text.decode(errors='replace')}"


def check_session_error(sentence, session, code, *words):
    """The session ends with that code, and the text says all the words."""
    error = session.ends()
    text = error.text.decode(errors="replace").lower() if error is not None else ""
    check(sentence, error is not None and error.code == code and all(word.lower() in text for word in words),
          describe(error))


def check_answer_error(sentence, frame, scope, code, *words):
    error = frame.error if frame.HasField("error") else None
    text = error.text.decode(errors="replace").lower() if error is not None else ""
    check(sentence, error is not None and error.scope == scope and error.code == code and
          all(word.lower() in text for word in words), describe(error))


def apart(function):
    """What function() returns, a string, from a process of its own: muxd may have enough of that one."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = function()
        except Exception as e:  # the parent tells
            said = repr(e)
        os.write(write_end, said.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said
