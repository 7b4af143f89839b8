"""notify.py PATH: what systemd would read: prints each line that is sent to the datagram socket PATH."""
import socket
import sys

reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
reader.bind(sys.argv[1])
while True:
    for line in reader.recv(65536).decode(errors="replace").split("\n"):
        print(line, flush=True)
