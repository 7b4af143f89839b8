# The public face of libmuxclient.
ABI_TESTS = tests/abi/header tests/abi/symbols tests/abi/layout tests/abi/size tests/abi/install \
	tests/abi/manual
dist_check_SCRIPTS += $(ABI_TESTS)
TESTS += $(ABI_TESTS)
EXTRA_DIST += tests/abi/layout-x86_64
