# muxctl: of what is built here it knows muxclient.h alone.
bin_PROGRAMS += client/muxctl
client_muxctl_SOURCES = \
	client/tool/main.c client/tool/command.c client/tool/ctl.c client/tool/ctl.h \
	client/tool/option.c client/tool/option.h client/tool/field.c \
	client/tool/json.c client/tool/json.h client/tool/print.c client/tool/print.h \
	client/tool/post.c client/tool/post.h client/tool/run.c client/tool/run.h \
	client/tool/signals.c client/tool/signals.h client/tool/lines.c client/tool/lines.h \
	client/tool/look.c client/tool/control.c client/tool/publish.c client/tool/get.c client/tool/consume.c \
	client/tool/call.c client/tool/topology.c
client_muxctl_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
client_muxctl_LDADD = client/libmuxclient.la $(JANSSON_LIBS)
dist_man_MANS += client/muxctl.1

# The shells find these by their names.
nodist_bashcompletion_DATA = client/tool/completions/muxctl
client/tool/completions/muxctl: client/tool/completion/muxctl.bash
	$(AM_V_GEN)$(MKDIR_P) client/tool/completions && cp $(srcdir)/client/tool/completion/muxctl.bash $@
dist_zshcompletion_DATA = client/tool/completion/_muxctl
dist_fishcompletion_DATA = client/tool/completion/muxctl.fish
CLEANFILES += client/tool/completions/muxctl
EXTRA_DIST += client/tool/completion/muxctl.bash

# Needs no daemon. What needs one: tests/integration/muxctl.sh.
dist_check_SCRIPTS += tests/unit/test-muxctl-usage tests/unit/test-muxctl-completion
EXTRA_DIST += tests/unit/complete.zsh
TESTS += tests/unit/test-muxctl-usage tests/unit/test-muxctl-completion
