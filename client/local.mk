# libmuxclient: floor C. Of what is built here it links proto/ alone.
include_HEADERS += client/muxclient.h
pkgconfig_DATA += client/muxclient.pc
