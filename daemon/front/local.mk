# Floor 4: the front end that speaks muxd's protocol.
noinst_LIBRARIES += daemon/front/libfront.a
daemon_front_libfront_a_SOURCES = \
	daemon/front/front.h daemon/front/ipc.c daemon/front/ipc.h \
	daemon/front/dispatch.c daemon/front/event.c daemon/front/query.c daemon/front/question.c daemon/front/control.c \
	daemon/front/table.c daemon/front/table.h \
	daemon/front/unpack.c daemon/front/unpack.h \
	daemon/front/users.c daemon/front/users.h
daemon_front_libfront_a_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS)
