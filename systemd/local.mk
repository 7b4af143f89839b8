# The units, and the user they run as. Installed with libsystemd only: without
# it muxd tells systemd nothing, and Type=notify would wait for ever.
EXTRA_DIST += systemd/muxd.service.in systemd/muxd.socket systemd/muxd.sysusers.conf
CLEANFILES += systemd/muxd.service

systemd/muxd.service: systemd/muxd.service.in
	$(AM_V_GEN)$(MKDIR_P) systemd && $(SED) -e 's|@sbindir[@]|$(sbindir)|g' $(srcdir)/systemd/muxd.service.in > $@.tmp && mv $@.tmp $@

if HAVE_SYSTEMD
nodist_systemdsystemunit_DATA = systemd/muxd.service
dist_systemdsystemunit_DATA = systemd/muxd.socket
all-local: systemd/muxd.service

install-data-hook:
	$(MKDIR_P) $(DESTDIR)$(prefix)/lib/sysusers.d
	$(INSTALL_DATA) $(srcdir)/systemd/muxd.sysusers.conf $(DESTDIR)$(prefix)/lib/sysusers.d/muxd.conf
uninstall-hook:
	rm -f $(DESTDIR)$(prefix)/lib/sysusers.d/muxd.conf
endif
