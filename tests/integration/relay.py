"""A TCP server that stands in for a broker, or between muxd and one.

    relay.py MODE [TARGET-PORT [PORT]]

    pass    hands bytes on to TARGET-PORT, both ways
    cut     the same, but closes as soon as the broker has answered the login
    junk    answers with bytes that are nothing
    http    answers as an HTTP server does
    close   closes at once
    silent  says nothing

The first line on stdout is `listening PORT`; then there is `accepted` for each
connection. It ends with SIGTERM; SIGSTOP makes a frozen peer of it.
"""
import select
import socket
import sys
import threading

ANSWERS = {
    "junk": bytes(range(7, 250)) * 4,
    "http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}


def hand_on(client, target_port, cut):
    broker = socket.create_connection(("127.0.0.1", target_port))
    answers = 0
    with client, broker:
        while True:
            for ready in select.select([client, broker], [], [])[0]:
                try:
                    data = ready.recv(1 << 16)
                    answers += ready is broker
                    # the broker's second answer is connection.tune
                    if not data or (cut and answers == 2):
                        return
                    (broker if ready is client else client).sendall(data)
                except OSError:
                    return


def answer(client, mode):
    with client:
        if mode in ANSWERS:
            client.recv(8)
            client.sendall(ANSWERS[mode])
        try:
            if mode == "close":
                client.shutdown(socket.SHUT_WR)
            # what is not read would make the kernel send a reset instead of an end
            client.settimeout(60)
            while client.recv(1 << 16):
                pass
        except OSError:
            pass


def main():
    mode = sys.argv[1]
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[3]) if len(sys.argv) > 3 else 0))
    listener.listen()
    print("listening", listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        print("accepted", flush=True)
        if mode in ("pass", "cut"):
            work = (hand_on, (client, int(sys.argv[2]), mode == "cut"))
        else:
            work = (answer, (client, mode))
        threading.Thread(target=work[0], args=work[1], daemon=True).start()


main()
