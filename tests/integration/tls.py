"""For tls.sh.

    tls.py front TARGET-PORT CERT-WITHOUT-.pem CA [needs-client] [version=1.1]
        TLS before a broker that has none: `listening PORT` is its first line

    tls.py more TARGET-PORT STEP
        hands bytes on; of the connections from the broker the first is cut behind STEP bytes, the next
        behind twice as many, and so on. `cut BYTES` for each, `whole` for the first that was not cut within 20,000

    tls.py count PID FILE
        how often the bytes of FILE are in the memory of a process; exit code 3 if that cannot be read
"""
import select
import socket
import ssl
import sys
import threading
import warnings


def listen():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    print("listening", listener.getsockname()[1], flush=True)
    return listener


def pump(source, sink):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client, context, target):
    # what is left unread would make a reset of the alert
    raw = client.dup()
    try:
        client = context.wrap_socket(client, server_side=True)
    except OSError as error:
        print("refused", error, flush=True)
        raw.setblocking(False)
        try:
            raw.recv(1 << 16)
        except OSError:
            pass
        raw.close()
        return
    raw.close()
    broker = socket.create_connection(("127.0.0.1", target))
    threading.Thread(target=pump, args=(client, broker), daemon=True).start()
    pump(broker, client)


def front(target, cert, ca, *options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    warnings.simplefilter("ignore")  # old versions are meant
    context.minimum_version = ssl.TLSVersion.TLSv1
    if "version=1.1" in options:
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(cert + ".pem", cert + ".key")
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED if "needs-client" in options else ssl.CERT_OPTIONAL
    listener = listen()
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client, context, int(target)), daemon=True).start()


def hand_on(client, target, most):
    broker = socket.create_connection(("127.0.0.1", target))
    passed, told = 0, False
    with client, broker:
        while passed < most or most > 20000:
            if passed > 20000 and not told:
                told = print("whole", flush=True) is None
            for ready in select.select([client, broker], [], [])[0]:
                try:
                    data = ready.recv(min(1 << 16, most - passed) if ready is broker else 1 << 16)
                    if not data:
                        return
                    (broker if ready is client else client).sendall(data)
                    passed += len(data) if ready is broker else 0
                except OSError:
                    return
    print("cut", passed, flush=True)


def more(target, step):
    listener = listen()
    most = 0
    while True:
        client, _ = listener.accept()
        most += int(step)
        threading.Thread(target=hand_on, args=(client, int(target), most), daemon=True).start()


def count(pid, file):
    needle = open(file, "rb").read().strip()
    total = 0
    try:
        memory = open(f"/proc/{pid}/mem", "rb", 0)
    except OSError as error:
        print(error)
        sys.exit(3)
    for line in open(f"/proc/{pid}/maps"):
        span, modes = line.split()[:2]
        start, end = (int(x, 16) for x in span.split("-"))
        # what a sanitizer reserves is terabytes of nothing
        if modes[0] != "r" or modes[1] != "w" or end - start > 1 << 30:
            continue
        try:
            memory.seek(start)
            data = memory.read(end - start)
        except (OSError, OverflowError, ValueError):
            continue
        total += data.count(needle)
    print(total)


globals()[sys.argv[1]](*sys.argv[2:])
