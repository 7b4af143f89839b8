# The public face of libmuxclient.
dist_check_SCRIPTS += tests/abi/header tests/abi/symbols
TESTS += tests/abi/header tests/abi/symbols
