"""What muxd's access rules allow, beside what RabbitMQ allows a user with the same regular expressions.

    permissions.py BROKER PORT VHOST

BROKER rabbitmq: each operation goes to the broker in VHOST, by a bare connection of each user, and through muxd to the
virtual host VHOST.mux, where the broker allows everything; the reply codes must be equal. On any broker muxd's answer
must be what muxd.conf(5) says. Users are muxd's upstreams: no uids are needed.
"""
import itertools
import struct
import sys

import amqp
import wire
from ipc import Client, Closed, Session, check, finish, pb

broker, port, vhost = sys.argv[1], int(sys.argv[2]), sys.argv[3]
LETTERS = ["".join(s) for n in range(4) for s in itertools.combinations("cwr", n)]


# ------------------------------------------------------------------ both sides

class Bare:
    """A user's own connection; one that the broker closes is made again."""

    def __init__(self, user, vhost):
        self.user, self.vhost, self.connection = user.encode(), vhost, None

    def code(self, ops):
        """Of the first operation that fails on a new channel; 0: none does."""
        if self.connection is None:
            self.connection = amqp.Connection(port, self.vhost, self.user, self.user)
        connection = self.connection
        connection.open(1)
        connection.send(1, amqp.CONFIRM_SELECT, b"\0")
        connection.expect(1, amqp.CONFIRM_SELECT_OK)
        for op in ops:
            for kind, payload in op.amqp:
                connection.socket.sendall(connection.frame(kind, 1, payload))
            channel, method, arguments = connection.receive()
            while method == amqp.BASIC_RETURN:
                channel, method, arguments = connection.receive()
            if method == amqp.CHANNEL_CLOSE:
                connection.send(1, amqp.CHANNEL_CLOSE_OK)
                return struct.unpack(">H", arguments[:2])[0]
            if method == amqp.CONNECTION_CLOSE:
                connection.send(0, amqp.CONNECTION_CLOSE_OK)
                self.connection = None
                return struct.unpack(">H", arguments[:2])[0]
        connection.close_channel(1)
        return 0


class Muxd:
    """A session of the upstream with the user's name."""

    def __init__(self, user):
        self.session, self.generation, self.text = Session(), 0, b""
        self.session.hello(upstream=user.encode())

    def code(self, ops):
        session, self.text = self.session, b""
        self.generation += 1
        session.open(1, self.generation)
        for op in ops:
            if "publish" in op.ipc:
                session.send(Client(channel=1, **op.ipc), op.body)
                frame = session.wait(lambda f: f.HasField("outcome") or (
                    f.HasField("error") and f.channel == 1 and f.generation == self.generation))[0]
                error = frame.outcome.error if frame.HasField("outcome") else frame.error
            else:
                frame = session.ask(channel=1, **op.ipc)[0]
                error = frame.error
            if error.code:
                self.text = error.text
                return error.code
        session.ask(channel=1, channel_close=pb.ChannelClose())
        return 0


# ------------------------------------------------------------------ operations by what they need

# What is needed of the first name and of the second one; the patterns of user `letters` look for a name's letters
# behind its hyphen, so that the name alone decides.
NEW = itertools.count()
S = "S"


def new(kind):
    return f"{kind}{next(NEW)}-"


# operation: (needed of the first name, needed of the second, made from both names)
ROWS = {
    "queue.declare": ("c", None, lambda a, b: wire.queue_declare(new("d") + a)),
    "queue.declare exclusive": ("c", None, lambda a, b: wire.queue_declare(new("x") + a, exclusive=1)),
    "queue.declare passive": ("", None, lambda a, b: wire.queue_declare("q-" + a, passive=1)),
    "queue.declare with a DLX": ("cr", "w", lambda a, b: wire.queue_declare(
        new("l") + a, args={"x-dead-letter-exchange": (S, b"e-" + b.encode())})),
    "queue.delete": ("c", None, lambda a, b: wire.queue_delete("gone-" + a)),
    "queue.purge": ("r", None, lambda a, b: wire.queue_purge("q-" + a)),
    "queue.bind": ("w", "r", lambda a, b: wire.queue_bind("q-" + a, "e-" + b, "k")),
    "queue.unbind": ("w", "r", lambda a, b: wire.queue_unbind("q-" + a, "e-" + b, "k")),
    "exchange.declare": ("c", None, lambda a, b: wire.exchange_declare(new("f") + a, "fanout")),
    "exchange.declare passive": ("", None, lambda a, b: wire.exchange_declare("e-" + a, "direct", passive=1)),
    "exchange.declare with an AE": ("cr", "w", lambda a, b: wire.exchange_declare(
        new("a") + a, "fanout", args={"alternate-exchange": (S, b"e-" + b.encode())})),
    "exchange.delete": ("c", None, lambda a, b: wire.exchange_delete("gone-" + a)),
    "exchange.bind": ("w", "r", lambda a, b: wire.exchange_bind("e-" + a, "e-" + b, "k")),
    "exchange.unbind": ("w", "r", lambda a, b: wire.exchange_bind("e-" + a, "e-" + b, "k", unbind=True)),
    "basic.publish": ("w", None, lambda a, b: wire.publish("e-" + a, "k")),
    "basic.publish mandatory": ("w", None, lambda a, b: wire.publish("e-" + a, "nowhere", mandatory=1)),
    "basic.get": ("r", None, lambda a, b: wire.get("q-" + a, no_ack=1)),
    "basic.consume": ("r", None, lambda a, b: wire.consume("q-" + a, no_ack=1)),
}

# A second user, with patterns as people write them.
WEB = "^(web\\.|amq\\.gen|muxd\\.gen-)"
USERS = {
    "letters": ("-.*c", "-.*w", "-.*r"),
    "web": (WEB, "^(web\\.|amq\\.default$)", WEB),
    "strict": ("^web\\.", "^web\\.", "^web\\."),
    "none": ("", "", ""),
}
ODD_USERS = ("web", "strict", "none")


def dlx(name, of):
    return wire.queue_declare(of, args={"x-dead-letter-exchange": (S, name)})


def alternate(name, of):
    return wire.exchange_declare(of, "fanout", args={"alternate-exchange": (S, name)})


def odd_rows(user):
    """(what, operations, whom of ODD_USERS it is refused to: 1 yes, 0 no); what the user makes has names of its own."""
    declare = wire.queue_declare("web.last")
    yield "publish to the default exchange", [wire.publish("", "web.q")], "011"
    yield "publish to amq.default by that name", [wire.publish("amq.default", "web.q")], "011"
    yield "publish with CC and BCC to queues one may not touch", [wire.publish("web.e", "k", headers={
        "CC": ("A", [(S, b"q-")]), "BCC": ("A", [(S, b"q-")])})], "001"
    yield "publish with somebody else's user-id", [wire.publish("web.e", "k", user_id="nobody")], "001"
    yield "publish with a reply-to one may not read", [wire.publish("web.e", "k", reply_to="q-")], "001"
    yield "publish to an internal exchange", [wire.publish("web.internal", "k")], "111"
    yield "publish to a missing exchange", [wire.publish("web.missing", "k")], "001"
    yield "a DLX that is the default exchange", [dlx(b"", f"web.l1.{user}")], "011"
    yield "a DLX that is missing", [dlx(b"web.missing", f"web.l2.{user}")], "001"
    yield "a DLX that begins otherwise", [dlx(b"xweb.e", f"web.l3.{user}")], "111"
    yield "a DLX of another type than a string", [wire.queue_declare(
        f"web.l4.{user}", args={"x-dead-letter-exchange": ("I", 5)})], "001"
    yield "a dead-letter routing key for a queue one may not touch", [wire.queue_declare(f"web.l5.{user}", args={
        "x-dead-letter-exchange": (S, b"web.e"), "x-dead-letter-routing-key": (S, b"q-")})], "001"
    yield "two DLX, the second one not allowed", [wire.queue_declare(f"web.l6.{user}", args=[
        ("x-dead-letter-exchange", (S, b"web.e")), ("x-dead-letter-exchange", (S, b"q-"))])], "001"
    yield "a queue with a DLX declared passively", [wire.queue_declare(
        "web.q", passive=1, args={"x-dead-letter-exchange": (S, b"q-")})], "000"
    yield "an AE that is the default exchange", [alternate(b"", f"web.a1.{user}")], "011"
    yield "an AE that is missing", [alternate(b"web.missing", f"web.a2.{user}")], "001"
    yield "an AE that begins otherwise", [alternate(b"xweb.e", f"web.a3.{user}")], "111"
    yield "a queue without a name", [wire.queue_declare("")], "011"
    yield "an exclusive queue without a name", [wire.queue_declare("", exclusive=1)], "011"
    yield "a passive declare without a name", [wire.queue_declare("", passive=1)], "000"
    yield "a queue without a name, and consume from it", [wire.queue_declare("", exclusive=1),
                                                         wire.consume("", no_ack=1)], "011"
    yield "bind a queue without a name", [wire.queue_declare("", exclusive=1), wire.queue_bind("", "web.e", "k")], "111"
    yield "the last declared queue: get", [declare, wire.get("")], "001"
    yield "the last declared queue: consume", [declare, wire.consume("", no_ack=1)], "001"
    yield "the last declared queue: purge", [declare, wire.queue_purge("")], "001"
    yield "the last declared queue: bind", [declare, wire.queue_bind("", "web.e", "")], "001"
    yield "the last declared queue: unbind", [declare, wire.queue_unbind("", "web.e", "")], "001"
    yield "the last passively declared queue: get", [wire.queue_declare("q-", passive=1), wire.get("")], "111"
    yield "the last passively declared queue: purge", [wire.queue_declare("q-", passive=1), wire.queue_purge("")], "111"
    yield "the last declared queue: delete", [declare, wire.queue_delete("")], "001"
    yield "get with no queue declared", [wire.get("")], "000"
    yield "direct reply-to: consume", [wire.consume("amq.rabbitmq.reply-to", no_ack=1)], "000"
    yield "direct reply-to: get", [wire.get("amq.rabbitmq.reply-to")], "111"
    yield "direct reply-to: declare", [wire.queue_declare("amq.rabbitmq.reply-to")], "000"
    yield "direct reply-to: declare passively", [wire.queue_declare("amq.rabbitmq.reply-to", passive=1)], "000"
    yield "direct reply-to: an address that is none", [wire.queue_declare("amq.rabbitmq.reply-to.none")], "000"
    yield "direct reply-to: publish to an address that is none", [
        wire.publish("", "amq.rabbitmq.reply-to.g1h2AA.none")], "011"
    yield "direct reply-to: ask", [wire.consume("amq.rabbitmq.reply-to", no_ack=1),
                                   wire.publish("", "web.q", reply_to="amq.rabbitmq.reply-to")], "011"
    yield "bind to the default exchange", [wire.queue_bind("web.q", "", "k")], "111"
    yield "bind the default exchange to another", [wire.exchange_bind("", "web.e", "k")], "111"
    yield "bind a queue to amq.direct", [wire.queue_bind("web.q", "amq.direct", "k")], "111"
    yield "delete amq.direct", [wire.exchange_delete("amq.direct")], "111"
    yield "delete what is missing", [wire.queue_delete("web.missing")], "001"
    yield "delete an exchange that is missing", [wire.exchange_delete("web.missing")], "001"
    yield "get from a missing queue", [wire.get("web.missing")], "001"
    yield "get from a missing queue one may not read", [wire.get("missing")], "111"
    yield "purge a missing queue one may not read", [wire.queue_purge("missing")], "111"
    yield "bind a missing queue", [wire.queue_bind("web.missing", "web.e", "k")], "001"
    yield "bind to a missing exchange", [wire.queue_bind("web.q", "web.missing", "k")], "001"
    yield "declare a queue that is there", [wire.queue_declare("web.q")], "001"
    yield "declare a queue that is there, otherwise", [wire.queue_declare("web.q", durable=1)], "001"
    yield "declare a queue amq. owns", [wire.queue_declare("amq.mine")], "111"
    yield "qos", [wire.qos(10)], "000"
    for what, name, refused in (("a NUL in it", b"web.\0x", "001"), ("a NUL before it", b"\0web.x", "111"),
                                ("bytes that are no UTF-8", b"web.\xff\xfe", "001"),
                                ("such bytes before it", b"\xffweb.", "111"),
                                ("255 bytes", b"web." + b"x" * 251, "001"), ("other letters", b"WEB.x", "111")):
        yield f"publish to a name with {what}", [wire.publish(name, "k")], refused
        if b"\xff" in name:  # an error of the connection, before permissions are looked at
            refused = "000"
        yield f"declare a name with {what}", [wire.queue_declare(name)], refused
        yield f"get from a name with {what}", [wire.get(name)], refused
        yield f"purge a name with {what}", [wire.queue_purge(name)], refused
        yield f"bind a name with {what}", [wire.queue_bind(name, "web.e", "k")], refused
        yield f"delete a name with {what}", [wire.queue_delete(name)], refused
        yield f"declare an exchange: a name with {what}", [wire.exchange_declare(name, "fanout")], refused
        yield f"delete an exchange: a name with {what}", [wire.exchange_delete(name)], refused
    # RabbitMQ drops line ends, but not in all methods
    for what, name in (("in it", "web\n.n"), ("before it", "\r\nweb.n")):
        yield f"declare a name with a line end {what}", [wire.queue_declare(name)], "001"
        yield f"bind a name with a line end {what}", [wire.queue_bind(name, "\nweb.e", "k")], "001"
        yield f"get from a name with a line end {what}", [wire.get(name)], "111"
        yield f"consume from a name with a line end {what}", [wire.consume(name)], "111"
        yield f"purge a name with a line end {what}", [wire.queue_purge(name)], "111"
        yield f"unbind a name with a line end {what}", [wire.queue_unbind(name, "web.e\r", "k")], "001"
        yield f"delete a name with a line end {what}", [wire.queue_delete(name)], "001"
        yield f"declare an exchange with a line end {what}", [wire.exchange_declare(name, "fanout")], "001"
        yield f"bind exchanges with a line end {what}", [wire.exchange_bind(name, "\nweb.e", "k")], "001"
        yield f"publish with a line end {what}", [wire.publish(name, "k")], "111"
        yield f"a DLX with a line end {what}", [dlx(name.encode(), f"web.n1.{user}")], "111"
        yield f"an AE with a line end {what}", [alternate(name.encode(), f"web.n2.{user}")], "111"
        yield f"unbind exchanges with a line end {what}", [wire.exchange_bind(name, "web.e\n", "k", unbind=True)], "001"
        yield f"delete an exchange with a line end {what}", [wire.exchange_delete(name)], "001"
    yield "a name of line ends alone", [wire.queue_declare("\r\n", exclusive=1)], "011"
    yield "an exchange's name of line ends alone", [wire.exchange_declare("\n", "fanout")], "111"


# Where muxd is not as RabbitMQ is, on purpose: muxd.conf(5), "Permissions".
DIFFERENT = {
    ("web", "publish to a name that ends in a line end"): (404, 403),
    ("strict", "a queue with a DLX declared again"): (0, 403),
}


def different_rows():
    """`$` is the very end of a name; whether a queue is there already is not known."""
    yield "web", "publish to a name that ends in a line end", [wire.publish("amq.default\n", "k")]
    yield "strict", "a queue with a DLX declared again", [dlx(b"e-", "web.with-dlx")]


# ------------------------------------------------------------------ the comparison

def make_things(connection):
    """What the operations are about, the same in both virtual hosts."""
    def do(op):
        connection.socket.sendall(b"".join(connection.frame(kind, 1, payload) for kind, payload in op.amqp))
        connection.receive()
    connection.open(1)
    for letters in LETTERS:
        do(wire.queue_declare("q-" + letters))
        do(wire.queue_declare("gone-" + letters))
        do(wire.exchange_declare("e-" + letters, "direct"))
        do(wire.exchange_declare("gone-" + letters, "direct"))
    for name in ("web.q", "q-"):
        do(wire.queue_declare(name))
    for name in ("web.e", "xweb.e"):
        do(wire.exchange_declare(name, "topic"))
    do(wire.exchange_declare("web.internal", "direct", internal=1))
    do(dlx(b"e-", "web.with-dlx"))
    connection.close_channel(1)


class Comparison:
    def __init__(self):
        self.bare = {user: Bare(user, vhost) for user in USERS} if broker == "rabbitmq" else {}
        self.muxd = {user: Muxd(user) for user in USERS}
        self.cases = 0

    def run(self, user, what, ops, refused):
        """The faults found, as texts. refused: by permission, as the man page has it; None: it says nothing."""
        self.cases += 1
        muxd = self.muxd[user]
        code = muxd.code(ops)
        faults = []
        if user in self.bare:
            bare = self.bare[user].code(ops)
            wanted = DIFFERENT.get((user, what), (bare, bare))
            if (bare, code) != wanted:
                faults.append(f"{user}, {what}: RabbitMQ {bare}, muxd {code} {muxd.text.decode()}")
        if refused is not None and (code == 403) != refused:
            faults.append(f"{user}, {what}: {'is to be' if refused else 'is not to be'} refused, muxd: {code} "
                          f"{muxd.text.decode()}")
        if code == 403 and b"access section" in muxd.text and f"access section '{user}'".encode() not in muxd.text:
            faults.append(f"{user}, {what}: the text does not name the section: {muxd.text.decode()}")
        return faults


def main():
    hosts = (vhost, vhost + ".mux") if broker == "rabbitmq" else (vhost,)
    for host in hosts:
        make_things(amqp.Connection(port, host))
    comparison = Comparison()
    as_what = "as RabbitMQ does" if broker == "rabbitmq" else "as the table says"
    for what, (first, second, make) in ROWS.items():
        faults = []
        for a, b in itertools.product(LETTERS, LETTERS if second is not None else [""]):
            allowed = set(first) <= set(a) and set(second or "") <= set(b)
            faults += comparison.run("letters", what, [make(a, b)], not allowed)
        check(f"{what} asks for what it needs, {as_what}", not faults, "; ".join(faults[:5]))
    for rows in zip(*map(odd_rows, ODD_USERS)):
        faults = []
        for i, (user, (what, ops, refused)) in enumerate(zip(ODD_USERS, rows)):
            faults += comparison.run(user, what, ops, refused[i] == "1")
        check(f"{rows[0][0]}: {as_what}", not faults, "; ".join(faults))
    if comparison.bare:
        faults = [f for user, what, ops in different_rows() for f in comparison.run(user, what, ops, None)]
        check("what differs from RabbitMQ is what muxd.conf(5) says", not faults, faults)
    print(f"{comparison.cases} cases")
    finish()


main()
