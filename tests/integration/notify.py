"""notify.py PATH: what systemd would read: prints each line that is sent to the datagram socket PATH."""
import os
import socket
import sys

reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
reader.bind(sys.argv[1])
while True:
    os.write(1, reader.recv(65536) + b"\n")  # in one piece: who sees a line of it sees all of it
