"""Requests in both languages: as AMQP methods for a bare connection to the broker, and as frames of muxd's IPC.

    declare = queue_declare("q", durable=1, args={"x-queue-type": ("S", b"quorum")})
    connection.frames(1, declare.amqp)          # bytes
    session.ask(channel=1, **declare.ipc)

A value in a table is (letter of its AMQP type, value): nested ones hold a dict ("F") or a list ("A") of such values.
"""
import struct

import muxd_pb2 as pb
from amqp import long, short

FORMATS = {"t": ">B", "b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "L": ">Q",
           "f": ">f", "d": ">d", "T": ">Q"}
MEMBERS = {"t": "boolean", "b": "int8", "B": "uint8", "s": "int16", "u": "uint16", "I": "int32", "i": "uint32",
           "l": "int64", "L": "uint64", "f": "float32", "d": "float64", "T": "timestamp", "S": "string",
           "x": "byte_array"}
PROPERTIES = ("content_type", "content_encoding", "headers", "delivery_mode", "priority", "correlation_id", "reply_to",
              "expiration", "message_id", "timestamp", "type", "user_id", "app_id", "cluster_id")


def octets(text):
    return text.encode() if isinstance(text, str) else text


# ---------------------------------------------------------------- tables

def amqp_value(value):
    """("raw", bytes) goes out as it is."""
    kind, content = value
    if kind == "raw":
        return content
    if kind in FORMATS:
        return kind.encode() + struct.pack(FORMATS[kind], content)
    if kind == "D":
        return b"D" + struct.pack(">BI", *content)
    if kind in "Sx":
        return kind.encode() + long(octets(content))
    if kind == "A":
        return b"A" + long(b"".join(amqp_value(item) for item in content))
    if kind == "F":
        return b"F" + amqp_table(content)
    return b"V"


def amqp_table(table):
    pairs = table.items() if isinstance(table, dict) else table
    return long(b"".join(short(octets(name)) + amqp_value(value) for name, value in pairs))


def fill_field(field, value):
    kind, content = value
    if kind == "D":
        field.decimal.scale, field.decimal.value = content
    elif kind == "A":
        field.array.SetInParent()
        for item in content:
            fill_field(field.array.fields.add(), item)
    elif kind == "F":
        field.table.SetInParent()
        fill_table(field.table, content)
    elif kind in MEMBERS:
        setattr(field, MEMBERS[kind], octets(content) if kind in "Sx" else bool(content) if kind == "t" else content)
    elif kind == "V":
        field.void = True


def fill_table(to, table):
    for name, value in (table.items() if isinstance(table, dict) else table):
        field = to.fields.add()
        field.name = octets(name)
        fill_field(field, value)


def ipc_table(table):
    message = pb.Table()
    fill_table(message, table)
    return message


# ---------------------------------------------------------------- requests

class Op:
    """One request: `amqp` as frames without channel, (type, payload); `ipc` as fields of a ClientFrame."""

    def __init__(self, amqp, ipc=None, body=b""):
        self.amqp, self.ipc, self.body = amqp, ipc, body


def method(class_id, method_id, arguments=b"", ipc=None):
    return Op([(1, struct.pack(">HH", class_id, method_id) + arguments)], ipc)


def bits(*flags):
    return bytes([sum(bool(flag) << i for i, flag in enumerate(flags))])


def queue_declare(queue, passive=0, durable=0, exclusive=0, auto_delete=0, args=()):
    return method(50, 10, b"\0\0" + short(octets(queue)) + bits(passive, durable, exclusive, auto_delete) +
                  amqp_table(args), {"queue_declare": pb.QueueDeclare(
                      queue=octets(queue), passive=passive, durable=durable, exclusive=exclusive,
                      auto_delete=auto_delete, arguments=ipc_table(args))})


def queue_delete(queue, if_unused=0, if_empty=0):
    return method(50, 40, b"\0\0" + short(octets(queue)) + bits(if_unused, if_empty),
                  {"queue_delete": pb.QueueDelete(queue=octets(queue), if_unused=if_unused, if_empty=if_empty)})


def queue_purge(queue):
    return method(50, 30, b"\0\0" + short(octets(queue)) + b"\0", {"queue_purge": pb.QueuePurge(queue=octets(queue))})


def queue_bind(queue, exchange, key="", args=()):
    return method(50, 20, b"\0\0" + short(octets(queue)) + short(octets(exchange)) + short(octets(key)) + b"\0" +
                  amqp_table(args), {"queue_bind": pb.QueueBind(queue=octets(queue), exchange=octets(exchange),
                                                                routing_key=octets(key), arguments=ipc_table(args))})


def queue_unbind(queue, exchange, key="", args=()):
    return method(50, 50, b"\0\0" + short(octets(queue)) + short(octets(exchange)) + short(octets(key)) +
                  amqp_table(args), {"queue_unbind": pb.QueueBind(queue=octets(queue), exchange=octets(exchange),
                                                                  routing_key=octets(key), arguments=ipc_table(args))})


def exchange_declare(exchange, kind, passive=0, durable=0, auto_delete=0, internal=0, args=()):
    return method(40, 10, b"\0\0" + short(octets(exchange)) + short(octets(kind)) +
                  bits(passive, durable, auto_delete, internal) + amqp_table(args),
                  {"exchange_declare": pb.ExchangeDeclare(
                      exchange=octets(exchange), type=octets(kind), passive=passive, durable=durable,
                      auto_delete=auto_delete, internal=internal, arguments=ipc_table(args))})


def exchange_delete(exchange, if_unused=0):
    return method(40, 20, b"\0\0" + short(octets(exchange)) + bits(if_unused),
                  {"exchange_delete": pb.ExchangeDelete(exchange=octets(exchange), if_unused=if_unused)})


def exchange_bind(destination, source, key="", args=(), unbind=False):
    ipc = pb.ExchangeBind(destination=octets(destination), source=octets(source), routing_key=octets(key),
                          arguments=ipc_table(args))
    return method(40, 40 if unbind else 30, b"\0\0" + short(octets(destination)) + short(octets(source)) +
                  short(octets(key)) + b"\0" + amqp_table(args), {"exchange_unbind" if unbind else "exchange_bind": ipc})


def qos(count, size=0, global_=0):
    return method(60, 10, struct.pack(">IHB", size, count & 0xffff, global_),
                  {"qos": pb.Qos(prefetch_count=count, **{"global": bool(global_)})})


def consume(queue, tag="", no_local=0, no_ack=0, exclusive=0, args=(), number=1, credit=1 << 20):
    return method(60, 20, b"\0\0" + short(octets(queue)) + short(octets(tag)) + bits(no_local, no_ack, exclusive) +
                  amqp_table(args), {"consume": pb.Consume(
                      queue=octets(queue), consumer_tag=octets(tag), no_local=no_local, no_ack=no_ack,
                      exclusive=exclusive, arguments=ipc_table(args), consumer=number, credit_messages=credit,
                      credit_bytes=credit)})


def cancel(tag, number=1):
    return method(60, 30, short(octets(tag)) + b"\0", {"cancel": pb.Cancel(consumer=number)})


def get(queue, no_ack=0):
    return method(60, 70, b"\0\0" + short(octets(queue)) + bits(no_ack),
                  {"get": pb.Get(queue=octets(queue), no_ack=no_ack)})


def settle(kind, tag=1, multiple=0, requeue=0):
    """kind: "ack", "nack", "reject"."""
    number, flags = {"ack": (80, multiple), "reject": (90, requeue), "nack": (120, multiple | requeue << 1)}[kind]
    action = pb.ACK if kind == "ack" else pb.REQUEUE if requeue else pb.DISCARD
    first = 0 if multiple else tag
    return method(60, number, struct.pack(">QB", tag, flags),
                  {"settle": pb.Settle(kind=action, tags=[pb.Range(first=first, last=tag)])})


def amqp_properties(properties):
    flags, out = 0, b""
    for i, name in enumerate(PROPERTIES):
        if name not in properties:
            continue
        flags |= 1 << (15 - i)
        value = properties[name]
        if name == "headers":
            out += amqp_table(value)
        elif name in ("delivery_mode", "priority"):
            out += bytes([value])
        else:
            out += struct.pack(">Q", value) if name == "timestamp" else short(octets(value))
    return struct.pack(">H", flags) + out


def ipc_properties(properties):
    message = pb.Properties()
    for name, value in properties.items():
        if name == "headers":
            message.headers.SetInParent()
            fill_table(message.headers, value)
        else:
            setattr(message, name, octets(value) if isinstance(value, (str, bytes)) else value)
    return message


def publish(exchange, key, body=b"hi", mandatory=0, immediate=0, raw_properties=None, **properties):
    """raw_properties: their bytes as a bare connection sends them."""
    raw = amqp_properties(properties) if raw_properties is None else raw_properties
    begin = struct.pack(">HHH", 60, 40, 0) + short(octets(exchange)) + short(octets(key)) + bits(mandatory, immediate)
    frames = [(1, begin), (2, struct.pack(">HHQ", 60, 0, len(body)) + raw)] + ([(3, body)] if body else [])
    fields = {"exchange": octets(exchange), "routing_key": octets(key), "mandatory": bool(mandatory)}
    if properties:
        fields["properties"] = ipc_properties(properties)
    return Op(frames, {"publish": pb.Publish(**fields)}, body)
