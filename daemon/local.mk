include $(top_srcdir)/daemon/base/local.mk
include $(top_srcdir)/daemon/amqp/local.mk
