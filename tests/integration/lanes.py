"""What muxd's barrier between two users of a lane relies on, asked of the broker itself.

    lanes.py PORT VHOST
"""
import struct
import sys

import amqp
from ipc import check, finish

broker = amqp.Connection(int(sys.argv[1]), sys.argv[2])
SELECT = (amqp.CONFIRM_SELECT, b"\0")


def begin():
    broker.open(1)
    broker.send(1, *SELECT)
    broker.expect(1, amqp.CONFIRM_SELECT_OK)


begin()
tags = []
for _ in range(3):
    broker.publish(1, b"", b"no-such-queue", b"x", mandatory=True)
    broker.send(1, *SELECT)
    methods = [broker.receive() for _ in range(3)]
    tags += [struct.unpack(">Q", arguments[:8])[0] for _, method, arguments in methods if method == amqp.BASIC_ACK]
    order = [method for _, method, _ in methods]
    # A confirm may wait for others in the broker, and come last; but a lane with something unconfirmed is not handed on.
    check("confirm.select again is answered behind what came before it, but for confirms",
          order[0] == amqp.BASIC_RETURN and sorted(order[1:]) == sorted([amqp.BASIC_ACK, amqp.CONFIRM_SELECT_OK]),
          methods)
check("and delivery tags go on as if it had not been", tags == [1, 2, 3], tags)

broker.send(1, amqp.BASIC_ACK, struct.pack(">QB", 77, 0))
broker.send(1, *SELECT)
got = broker.receive()
check("a channel error comes in its place, with an ack", got[1] == amqp.CHANNEL_CLOSE, got)
broker.send(1, amqp.CHANNEL_CLOSE_OK)
begin()
broker.publish(1, b"no-such-exchange", b"", b"x")
broker.send(1, *SELECT)
got = broker.receive()
check("and with a publish", got[1] == amqp.CHANNEL_CLOSE, got)
broker.send(1, amqp.CHANNEL_CLOSE_OK)
begin()
check("the number can be opened again", True)
finish()
