# Floor 1: the AMQP 0-9-1 codec, no I/O.
noinst_LIBRARIES += daemon/amqp/libamqp.a
daemon_amqp_libamqp_a_SOURCES = \
	daemon/amqp/methods.def \
	daemon/amqp/frame.c daemon/amqp/frame.h \
	daemon/amqp/table.c daemon/amqp/table.h \
	daemon/amqp/method.c daemon/amqp/method.h \
	daemon/amqp/content.c daemon/amqp/content.h \
	daemon/amqp/describe.c daemon/amqp/describe.h \
	daemon/amqp/reply.c daemon/amqp/reply.h \
	daemon/amqp/wire.h
