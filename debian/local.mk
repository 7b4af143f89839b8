# The packages for Debian are built of what make dist packs.
EXTRA_DIST += debian/changelog debian/control debian/copyright debian/rules debian/source/format \
	debian/README.Debian debian/muxd.conf debian/muxd.docs debian/muxd.install debian/muxd.postrm \
	debian/muxctl.install \
	debian/libmuxclient0.install debian/libmuxclient0.symbols \
	debian/libmuxclient-dev.docs debian/libmuxclient-dev.examples debian/libmuxclient-dev.install \
	debian/not-installed \
	debian/tests/control debian/tests/first-publish debian/tests/build-against
