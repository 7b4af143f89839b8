include $(top_srcdir)/daemon/base/local.mk
include $(top_srcdir)/daemon/amqp/local.mk
include $(top_srcdir)/daemon/conf/local.mk
include $(top_srcdir)/daemon/policy/local.mk
include $(top_srcdir)/daemon/mux/local.mk
include $(top_srcdir)/daemon/net/local.mk
include $(top_srcdir)/daemon/up/local.mk
include $(top_srcdir)/daemon/front/local.mk
