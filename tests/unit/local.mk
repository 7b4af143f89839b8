# One program per module, on check; each links its own floor and those below.
# unit_TESTS collects them; every program prints check's totals.
UNIT_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(PROTOBUF_C_CFLAGS)
UNIT_PROTO = proto/libproto.la
UNIT_BASE = daemon/base/libbase.a $(UNIT_PROTO)
UNIT_AMQP = daemon/amqp/libamqp.a $(UNIT_BASE)

