# Floor 4: the upstream's body.
noinst_LIBRARIES += daemon/up/libup.a
daemon_up_libup_a_SOURCES = daemon/up/uplink.c daemon/up/uplink.h
