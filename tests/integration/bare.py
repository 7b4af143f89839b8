"""bare.py PORT VHOST: as many round trips to the broker as a round of the canary's has, again and again, without muxd.

Ends by SIGTERM, and prints how many milliseconds they took at most: what the broker and the machine had to do.
"""
import signal
import struct
import sys
import time

import amqp

TRIPS = 5
ended = False


def end(*_):
    global ended
    ended = True


signal.signal(signal.SIGTERM, end)
broker = amqp.Connection(int(sys.argv[1]), sys.argv[2])
broker.open(1)
broker.send(1, amqp.CONFIRM_SELECT, struct.pack(">B", 0))
broker.expect(1, amqp.CONFIRM_SELECT_OK)
most = 0
while not ended:
    began = time.monotonic()
    for _ in range(TRIPS):
        broker.publish(1, b"", b"nowhere", b"x")
        broker.expect(1, amqp.BASIC_ACK)
    most = max(most, time.monotonic() - began)
    time.sleep(0.001)
print(int(most * 1000))
