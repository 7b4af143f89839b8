# Looks at the sources themselves.
LINT_TESTS = tests/lint/floors tests/lint/calls tests/lint/functions tests/lint/globals tests/lint/format tests/lint/planted
dist_check_SCRIPTS += $(LINT_TESTS)
TESTS += $(LINT_TESTS)
EXTRA_DIST += tests/lint/lint.sh
