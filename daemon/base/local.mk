# Floor 0: what every other floor of the daemon uses.
noinst_LIBRARIES += daemon/base/libbase.a
daemon_base_libbase_a_SOURCES = \
	daemon/base/list.h daemon/base/clock.h \
	daemon/base/bits.c daemon/base/bits.h \
	daemon/base/timerq.c daemon/base/timerq.h \
	daemon/base/charge.c daemon/base/charge.h \
	daemon/base/fault.c daemon/base/fault.h daemon/base/hash.h \
	daemon/base/duration.c daemon/base/duration.h \
	daemon/base/log.c daemon/base/log.h \
	daemon/base/map.c daemon/base/map.h \
	daemon/base/pool.c daemon/base/pool.h \
	daemon/base/quiet.c daemon/base/quiet.h
