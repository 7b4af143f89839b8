"""A relay to a broker that is far away, or has a small window.

    far.py TARGET-PORT DELAY-MS [WINDOW-BYTES [PORT]]

Bytes arrive DELAY-MS later than they were sent, in each direction. With WINDOW-BYTES the socket towards muxd has
a receive buffer of that size. The first line on stdout is `listening PORT`.
"""
import queue
import socket
import sys
import threading
import time

TARGET, DELAY = int(sys.argv[1]), int(sys.argv[2]) / 1000
WINDOW = int(sys.argv[3]) if len(sys.argv) > 3 else 0


def read(source, pending):
    while True:
        try:
            data = source.recv(1 << 16)
        except OSError:
            data = b""
        pending.put((time.monotonic() + DELAY, data))
        if not data:
            return


def write(sink, pending):
    while True:
        due, data = pending.get()
        time.sleep(max(0, due - time.monotonic()))
        try:
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)
        except OSError:
            return


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if WINDOW:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
listener.bind(("127.0.0.1", int(sys.argv[4]) if len(sys.argv) > 4 else 0))
listener.listen()
print("listening", listener.getsockname()[1], flush=True)
while True:
    near, _ = listener.accept()
    try:
        far = socket.create_connection(("127.0.0.1", TARGET))
    except OSError:
        near.close()
        continue
    for one in near, far:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for source, sink in (near, far), (far, near):
        # without a delay a full window must be felt on the other side
        pending = queue.Queue(0 if DELAY else 1)
        threading.Thread(target=read, args=(source, pending), daemon=True).start()
        threading.Thread(target=write, args=(sink, pending), daemon=True).start()
