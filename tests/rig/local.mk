# What tests stand on that drive mux from both ends: unit tests, the simulation of transactions, fuzz targets.
check_LIBRARIES += tests/rig/librig.a
tests_rig_librig_a_SOURCES = tests/rig/remote.c tests/rig/remote.h tests/rig/hear.c tests/rig/hear.h \
	tests/rig/setup.c tests/rig/setup.h tests/rig/require.h
