"""A client of muxd in Python, written from proto/PROTOCOL.md and proto/muxd.proto alone.

It is an example of how small a client can be, and a proof that the documents suffice:
everything blocks, one thread, no transactions. It outlives muxd: see Client._come_back().

    protoc -I proto --python_out=client/examples/python muxd.proto      makes muxd_pb2.py

A forked process, and each thread, makes a Client of its own. demo.py shows the use.
The numbers in comments are the sections of PROTOCOL.md.
"""
import collections
import os
import random
import select
import socket
import struct
import time

import muxd_pb2 as pb

STANDING_MESSAGES, STANDING_BYTES = 64, 16384  # 3: what may be published before Welcome says more
WINDOW_MESSAGES, WINDOW_BYTES = 100, 1 << 20  # what a consumer may have for the program; and gets
WAITING_MAX = 1000  # publications that wait for credit, or for muxd to come back
LOCKED_SECONDS = 10  # 22: so long a 405 or 403 may mean that the old session is not gone yet


class Error(Exception):
    """muxd's Error (12)."""

    def __init__(self, error):
        super().__init__(f"{error.code}: {error.text.decode(errors='replace')}")
        self.scope, self.code, self.retryable = error.scope, error.code, error.retryable


class Unknown(Exception):
    """muxd was lost while a request was under way that must not be made twice: it was done or not."""


class _Lost(Exception):
    """The session has ended, or is left."""


class Publication:
    """A message to be published, and what became of it: outcome, a pb.OutcomeKind, and error."""

    def __init__(self, channel, op, body, seconds):
        self.channel, self.op, self.body = channel, op, body
        self.first = time.monotonic()
        self.deadline = self.first + seconds if seconds else None
        self.outcome = self.error = self.returned = None
        self.written = False  # whole to the socket, in this session

    def end(self, kind, error=None):
        self.outcome, self.error = kind, error

    def frame(self):
        """As it is to be sent now (6, 22). None: it is too late."""
        now = time.monotonic()
        frame = pb.ClientFrame(channel=self.channel.number, publish=self.op)
        if self.deadline:
            if now >= self.deadline:
                self.end(pb.UNKNOWN if self.op.resent else pb.NOT_SENT)
                return None
            frame.deadline_ms = max(1, int((self.deadline - now) * 1000))
        if self.op.resent and self.op.properties.expiration:
            frame.publish.age_ms = int((now - self.first) * 1000)
        return frame


class Message:
    """A message that was delivered or got. Settling one of a session that has ended does nothing."""

    def __init__(self, channel, event, body):
        self.channel, self.session, self.generation = channel, channel.client.session, channel.generation
        self.tag, self.redelivered, self.properties, self.body = event.tag, event.redelivered, event.properties, body
        self.exchange, self.routing_key = event.exchange, event.routing_key
        if self.tag:
            channel.unsettled.add(self.tag)

    def settle(self, kind=pb.ACK):
        """Or pb.REQUEUE, pb.DISCARD."""
        now = self.channel
        if (self.session, self.generation) != (now.client.session, now.generation) or self.tag not in now.unsettled:
            return
        now.unsettled.remove(self.tag)
        settle = pb.Settle(kind=kind, tags=[pb.Range(first=self.tag, last=self.tag)])
        now.client._send(pb.ClientFrame(channel=now.number, settle=settle))


class Consumer:
    """Messages of a queue, taken one by one by get()."""

    def __init__(self, channel, number, fields):
        self.channel, self.number, self.fields = channel, number, fields
        self.messages = collections.deque()
        self.cancelled = None  # why it has ended
        self.begin()

    def begin(self):
        self.taken_messages = self.taken_bytes = 0
        self.granted = WINDOW_MESSAGES
        # What has gone back comes again; what needed no settling does not.
        self.messages = collections.deque(entry for entry in self.messages if not entry[0].tag)
        return pb.Consume(consumer=self.number, credit_messages=WINDOW_MESSAGES, credit_bytes=WINDOW_BYTES,
                          **self.fields)

    def get(self, seconds=None):
        """The next message; None if none came in time."""
        client = self.channel.client
        if not client._until(lambda: self.messages or self.cancelled is not None or self.channel.failed, seconds):
            return None
        if not self.messages:
            raise self.channel.failed or RuntimeError(f"the consumer was cancelled: {self.cancelled}")
        message, cost = self.messages.popleft()
        if message.session == client.session:
            self.taken_messages += 1
            self.taken_bytes += cost
            self._grant()
        return message

    def _grant(self):
        """Totals, at each half (10)."""
        if self.taken_messages + WINDOW_MESSAGES // 2 < self.granted or self.channel.client._leave_by:
            return
        self.granted = self.taken_messages + WINDOW_MESSAGES
        credit = pb.ConsumerCredit(consumer=self.number, messages=self.granted, bytes=self.taken_bytes + WINDOW_BYTES)
        self.channel.client._send(pb.ClientFrame(channel=self.channel.number, consumer_credit=credit))


class Channel:
    """Made by Client.channel(). When it has failed, open() begins its next generation."""

    def __init__(self, client, number):
        self.client, self.number, self.generation = client, number, 0
        self.topology, self.consumers = [], {}  # what is made again in a new session, in its order
        self.sent = {}  # publications without an outcome, by generation and number
        self.open()

    def open(self):
        self.generation += 1
        self.last_number = 0  # 6: publishes are counted
        self.failed, self.unsettled = None, set()
        self.client._send(pb.ClientFrame(channel=self.number, channel_open=pb.ChannelOpen(generation=self.generation)))

    def ask(self, again=True, keep=False, **op):
        """Any request: frame and payload of the answer. again: it may be made twice; keep: in new sessions, too."""
        answer = self.client._request(self, again, op)
        if keep:
            self.topology.append(op)
        return answer

    def declare(self, queue=b"", **fields):
        """Gives the queue's name. One that muxd made is kept, with its token."""
        declare = pb.QueueDeclare(queue=queue, **fields)
        declared = self.ask(queue_declare=declare)[0].queue_declared
        declare.queue = declared.queue
        if declared.resume:
            declare.resume = declared.resume
        self.topology.append({"queue_declare": declare})
        return declared.queue

    def consume(self, queue, **fields):
        self.client._until(lambda: not self.client._leave_by, None)
        consumer = Consumer(self, max(self.consumers, default=0) + 1, dict(queue=queue, **fields))
        self.consumers[consumer.number] = consumer
        try:
            self.ask(again=False, consume=consumer.begin())
        except Unknown:
            pass  # coming back has started it
        except Error:
            self.consumers.pop(consumer.number, None)
            raise
        return consumer

    def cancel(self, consumer):
        self.ask(cancel=pb.Cancel(consumer=consumer.number))
        del self.consumers[consumer.number]

    def get(self, queue, no_ack=False):
        """A message, or None."""
        frame, body = self.ask(again=not no_ack, get=pb.Get(queue=queue, no_ack=no_ack))
        if not frame.HasField("got"):
            return None
        self.client._got(frame.ByteSize() + len(body))
        return Message(self, frame.got, body)

    def publish(self, body, routing_key, exchange=b"", seconds=None, **properties):
        """Gives a Publication at once; Client.wait() waits for its outcome."""
        mandatory = properties.pop("mandatory", False)
        op = pb.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory,
                        properties=pb.Properties(**properties))
        return self.client._publish(Publication(self, op, body, seconds))


class Client:
    """A session with muxd, and the next one when that is lost."""

    def __init__(self, path=None, program=b"python", upstream=b"", patience=60, timeout=30):
        self.path, self.program, self.upstream = path or self._default_path(), program, upstream
        self.patience, self.timeout = patience, timeout  # seconds: to be without muxd; for a request
        self.session = 0  # counts; messages and requests know theirs
        self.channels, self.waiting = {}, collections.deque()  # publications that are not sent
        self.socket = None
        self._connect()

    @staticmethod
    def _default_path():
        own = os.path.join(os.environ.get("XDG_RUNTIME_DIR", "/nowhere"), "muxd.sock")
        return os.environ.get("MUXD_SOCKET") or (own if os.path.exists(own) else "/run/muxd/muxd.sock")

    def channel(self):
        number = max(self.channels, default=0) + 1
        self.channels[number] = Channel(self, number)
        return self.channels[number]

    def wait(self, *publications, seconds=None):
        """True if all of them have their outcomes."""
        return self._until(lambda: all(p.outcome is not None for p in publications), seconds)

    def close(self):
        """What was published is sent: muxd does the rest (15)."""
        self._until(lambda: not self.waiting and not self.out, self.timeout)
        self.socket.close()

    # ---------------------------------------------------------------- sessions

    def _connect(self):
        """Errors: those of connect(2); _Lost; Error if muxd does not want us."""
        if self.socket:
            self.socket.close()
        self.out, self.input = collections.deque(), bytearray()
        self.unanswered, self.last_request = {}, 0
        self.spent_messages = self.spent_bytes = self.wanted = 0
        self.credit_messages, self.credit_bytes = STANDING_MESSAGES, STANDING_BYTES
        self.got_bytes, self.message_max, self.welcome = 0, 0, None
        self._leave_by = None
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # not inherited: Python's default
        self.socket.setblocking(False)
        self.socket.connect(self.path)
        self._send(pb.ClientFrame(hello=pb.Hello(version_min=1, version_max=1, program=self.program,
                                                 upstream=self.upstream, get_bytes=WINDOW_BYTES)))
        end = time.monotonic() + self.timeout
        while not self.welcome:
            self._pump(1)
            if time.monotonic() > end:
                raise _Lost("there is no Welcome")

    def _come_back(self):
        """22: a new session, and in it what there was in the old one."""
        again = [p for c in self.channels.values() for _, p in sorted(c.sent.items())]
        for channel in self.channels.values():
            channel.sent = {}
        for publication in again:
            publication.op.resent = publication.op.resent or publication.written
            publication.written = False
            if publication.returned:
                publication.end(pb.RETURNED)
        self.waiting.extendleft(reversed([p for p in again if p.outcome is None]))
        end, pause, locked_until = time.monotonic() + self.patience, 0.01, time.monotonic() + LOCKED_SECONDS
        while True:
            try:
                self._connect()
                for channel in self.channels.values():
                    if not channel.failed:
                        self._restore(channel, locked_until)
                return
            except (_Lost, FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BlockingIOError) as error:
                if time.monotonic() > end:
                    raise ConnectionError("muxd does not come back") from error
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 1)

    def _restore(self, channel, locked_until):
        channel.generation = 0
        while True:
            channel.open()
            try:
                for op in channel.topology:
                    self._ask(channel, op, self._pump)
                for consumer in channel.consumers.values():
                    self._ask(channel, {"consume": consumer.begin()}, self._pump)
                return
            except Error as error:
                if error.code not in (403, 405) or time.monotonic() > locked_until:
                    channel.failed = error
                    return
            time.sleep(0.1)

    def _go_away(self, go_away):
        """Finishes, and begins nothing (22)."""
        self._leave_by = time.monotonic() + go_away.deadline_ms / 1000
        for channel in self.channels.values():
            for number in channel.consumers if not channel.failed else ():
                self._send_request(channel, {"cancel": pb.Cancel(consumer=number)}, [])

    def _may_leave(self):
        return time.monotonic() > self._leave_by or not (self.out or self.unanswered or any(
            c.sent or c.unsettled for c in self.channels.values()))

    def _turn(self, seconds):
        """Reads and writes for a while; comes back if muxd is lost."""
        try:
            self._send_waiting()
            self._pump(seconds)
            if self._leave_by and self._may_leave():
                raise _Lost("left")
        except _Lost:
            self._come_back()

    def _until(self, done, seconds):
        """Whether it is so, or came to be in time."""
        end = time.monotonic() + seconds if seconds is not None else float("inf")
        while not done():
            left = end - time.monotonic()
            self._turn(max(0, min(0.1, left)))
            if left <= 0:
                return bool(done())
        return True

    # ---------------------------------------------------------------- requests and publishes

    def _send_request(self, channel, op, answer):
        self.last_request += 1
        self.unanswered[self.last_request] = answer
        self._send(pb.ClientFrame(request=self.last_request, channel=channel.number if channel else None,
                                  deadline_ms=int(self.timeout * 1000), **op))

    def _ask(self, channel, op, turn):
        """The answer, and its payload; None if the session is another one now."""
        answer, session = [], self.session
        self._send_request(channel, op, answer)
        while not answer and self.session == session:
            turn(1)
        if answer and answer[0].HasField("error"):
            raise Error(answer[0].error)
        return answer

    def _request(self, channel, again, op):
        while True:
            self._until(lambda: not self._leave_by, None)
            if channel and channel.failed:
                raise channel.failed
            answer = self._ask(channel, op, self._turn)
            if answer:
                return answer
            if not again:
                raise Unknown(str(op))

    def _publish(self, publication):
        if publication.channel.failed:
            raise publication.channel.failed
        if len(publication.body) > self.message_max:
            raise ValueError(f"a body of more than {self.message_max} bytes")
        self._until(lambda: len(self.waiting) < WAITING_MAX, None)
        self.waiting.append(publication)
        self._turn(0)
        return publication

    def _send_waiting(self):
        """10: what fits into the credit, in order."""
        while self.waiting and not self._leave_by:
            publication, channel = self.waiting[0], self.waiting[0].channel
            if channel.failed:
                publication.end(pb.UNKNOWN if publication.op.resent else pb.NOT_SENT, channel.failed)
            frame = None if channel.failed else publication.frame()
            if frame:
                cost = frame.ByteSize() + len(publication.body)
                if self.spent_messages + 1 > self.credit_messages or self.spent_bytes + cost > self.credit_bytes:
                    self._want(self.spent_bytes + cost)
                    return
                self.spent_messages += 1
                self.spent_bytes += cost
                channel.last_number += 1
                channel.sent[channel.generation, channel.last_number] = publication
                self._send(frame, publication.body, publication)
            self.waiting.popleft()

    def _want(self, total_bytes):
        if self.wanted < total_bytes:
            self.wanted = total_bytes
            self._send(pb.ClientFrame(want=pb.Want(messages=self.spent_messages + 1, bytes=total_bytes)))

    def _got(self, cost):
        self.got_bytes += cost
        self._send(pb.ClientFrame(get_credit=pb.GetCredit(bytes=self.got_bytes + WINDOW_BYTES)))

    # ---------------------------------------------------------------- frames

    def _send(self, frame, payload=b"", publication=None):
        header = frame.SerializeToString()
        self.out.append([memoryview(struct.pack(">II", len(header), len(payload)) + header + payload), publication])

    def _pump(self, seconds):
        """Writes what is queued, reads what is there, waits at most so long for either."""
        events = select.POLLIN | (select.POLLOUT if self.out else 0)
        poll = select.poll()
        poll.register(self.socket, events)
        ready = dict(poll.poll(max(0, seconds) * 1000)).get(self.socket.fileno(), 0)
        if ready & select.POLLOUT:
            self._write()
        if ready & (select.POLLIN | select.POLLHUP | select.POLLERR):
            self._read()

    def _write(self):
        while self.out:
            entry = self.out[0]
            try:
                entry[0] = entry[0][self.socket.send(entry[0]):]
            except BlockingIOError:
                return
            except OSError:
                self.out.clear()  # reading tells when the last words are read
                return
            if entry[0]:
                return
            if entry[1]:
                entry[1].written = True
            self.out.popleft()

    def _read(self):
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError as error:
            raise _Lost(error) from error
        if not data:
            raise _Lost("muxd has closed the session")
        self.input += data
        while len(self.input) >= 8:
            header_len, payload_len = struct.unpack_from(">II", self.input)
            end = 8 + header_len + payload_len
            if len(self.input) < end:
                return
            frame = pb.ServerFrame.FromString(bytes(self.input[8:8 + header_len]))
            payload = bytes(self.input[8 + header_len:end])
            del self.input[:end]
            self._take(frame, payload)

    def _take(self, frame, payload):
        event = frame.WhichOneof("event")
        if frame.request:
            self.unanswered.pop(frame.request, []).extend((frame, payload))
        elif event == "welcome":
            self.session += 1
            self.welcome, self.message_max = frame.welcome, frame.welcome.message_max
            self._take_credit(frame.welcome.credit)
        elif event == "credit":
            self._take_credit(frame.credit)
        elif event == "go_away":
            self._go_away(frame.go_away)
        elif frame.channel:
            channel = self.channels.get(frame.channel)
            if channel and event in ("outcome", "returned"):
                self._take_outcome(channel, frame)
            elif channel and channel.generation == frame.generation:
                self._take_for(channel, event, frame, payload)
        elif event == "error":
            raise _Lost(Error(frame.error)) if frame.error.retryable else Error(frame.error)

    def _take_credit(self, credit):
        self.credit_messages = max(self.credit_messages, credit.messages)
        self.credit_bytes = max(self.credit_bytes, credit.bytes)

    def _take_outcome(self, channel, frame):
        if frame.HasField("returned"):
            channel.sent[frame.generation, frame.returned.number].returned = frame.returned
            return
        error = Error(frame.outcome.error) if frame.outcome.HasField("error") else None
        kind = frame.outcome.kind if frame.outcome.HasField("kind") else pb.UNKNOWN  # 2: one that we do not know
        for numbers in frame.outcome.numbers:
            for number in range(numbers.first, numbers.last + 1):
                channel.sent.pop((frame.generation, number)).end(kind, error)

    def _take_for(self, channel, event, frame, payload):
        if event == "delivery":
            consumer = channel.consumers.get(frame.delivery.consumer)
            if consumer:
                message = Message(channel, frame.delivery, payload)
                consumer.messages.append((message, frame.ByteSize() + len(payload)))
        elif event == "consumer_cancelled":
            consumer = channel.consumers.pop(frame.consumer_cancelled.consumer, None)
            if consumer:
                consumer.cancelled = frame.consumer_cancelled.text.decode(errors="replace")
        elif event == "error":
            channel.failed = Error(frame.error)
            channel.topology, channel.consumers, channel.unsettled = [], {}, set()
