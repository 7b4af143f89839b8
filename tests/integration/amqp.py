"""As much of AMQP 0-9-1 as it takes to ask a broker what it does, without muxd.

    broker = Connection(port, vhost)
    broker.open(1)
    broker.send(1, CONFIRM_SELECT, b"\0")
    broker.expect(1, CONFIRM_SELECT_OK)

A method is (class, method); arguments are bytes, encoded by hand.
"""
import socket
import struct

CONNECTION_START, CONNECTION_START_OK = (10, 10), (10, 11)
CONNECTION_TUNE, CONNECTION_TUNE_OK = (10, 30), (10, 31)
CONNECTION_OPEN, CONNECTION_OPEN_OK = (10, 40), (10, 41)
CONNECTION_CLOSE, CONNECTION_CLOSE_OK = (10, 50), (10, 51)
CHANNEL_OPEN, CHANNEL_OPEN_OK = (20, 10), (20, 11)
CHANNEL_CLOSE, CHANNEL_CLOSE_OK = (20, 40), (20, 41)
CONFIRM_SELECT, CONFIRM_SELECT_OK = (85, 10), (85, 11)
BASIC_PUBLISH, BASIC_RETURN = (60, 40), (60, 50)
BASIC_ACK, BASIC_NACK = (60, 80), (60, 120)


def short(text):
    return struct.pack(">B", len(text)) + text


def long(text):
    return struct.pack(">I", len(text)) + text


class Ended(Exception):
    """The broker has closed the connection."""


class Connection:
    def __init__(self, port, vhost="/", user=b"guest", password=b"guest", channel_max=None):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(20)
        self.buffer = b""
        self.socket.sendall(b"AMQP\0\0\x09\x01")
        self.expect(0, CONNECTION_START)
        self.send(0, CONNECTION_START_OK, long(b"") + short(b"PLAIN") + long(b"\0" + user + b"\0" + password) +
                  short(b"en_US"))
        tune = self.expect(0, CONNECTION_TUNE)
        self.channel_max, self.frame_max, _ = struct.unpack(">HIH", tune)
        self.channel_max = channel_max or self.channel_max
        self.send(0, CONNECTION_TUNE_OK, struct.pack(">HIH", self.channel_max, self.frame_max, 0))
        self.send(0, CONNECTION_OPEN, short(vhost.encode()) + short(b"") + b"\0")
        self.expect(0, CONNECTION_OPEN_OK)

    def frame(self, kind, channel, payload):
        return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"

    def send(self, channel, method, arguments=b""):
        self.socket.sendall(self.frame(1, channel, struct.pack(">HH", *method) + arguments))

    def publish(self, channel, exchange, key, body, mandatory=False):
        method = struct.pack(">HHH", *BASIC_PUBLISH, 0) + short(exchange) + short(key) + bytes([mandatory])
        header = struct.pack(">HHQH", 60, 0, len(body), 0)
        self.socket.sendall(self.frame(1, channel, method) + self.frame(2, channel, header) +
                            self.frame(3, channel, body))

    def receive(self):
        """The next method: channel, (class, method), arguments. Content is skipped."""
        while True:
            while len(self.buffer) < 7 or len(self.buffer) < 8 + struct.unpack(">I", self.buffer[3:7])[0]:
                data = self.socket.recv(1 << 16)
                if not data:
                    raise Ended
                self.buffer += data
            kind, channel, size = struct.unpack(">BHI", self.buffer[:7])
            payload, self.buffer = self.buffer[7:7 + size], self.buffer[8 + size:]
            if kind == 1:
                return channel, struct.unpack(">HH", payload[:4]), payload[4:]

    def expect(self, channel, method):
        """The arguments of the next method, which must be this one."""
        got = self.receive()
        if got[:2] != (channel, method):
            raise AssertionError(f"expected {method} on channel {channel}, got {got}")
        return got[2]

    def open(self, channel):
        self.send(channel, CHANNEL_OPEN, short(b""))
        self.expect(channel, CHANNEL_OPEN_OK)

    def close_channel(self, channel):
        self.send(channel, CHANNEL_CLOSE, struct.pack(">H", 200) + short(b"done") + struct.pack(">HH", 0, 0))
        self.expect(channel, CHANNEL_CLOSE_OK)
