#include "daemon/net/ahead.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define LOOK_USEC 5000u
#define QUEUE_USEC 1000u /* a round trip so much longer than the shortest had to queue */
#define BOUNDED_USEC (2 * USEC_PER_SEC)
#define LITTLE_MORE_BYTES 20480u

void ahead_note(struct ahead *ahead, struct mono now, uint64_t rtt_usec, uint64_t min_rtt_usec, uint64_t rate)
{
	if (rtt_usec > min_rtt_usec + min_rtt_usec / 4 + QUEUE_USEC)
		ahead->bounded_until = mono_add_usec(now, BOUNDED_USEC);
	/* A quarter more than was measured, so that it finds out when the link can take more. */
	ahead->limit = LITTLE_MORE_BYTES + rate / USEC_PER_SEC * min_rtt_usec / 4 * 5;
}

static void look(struct ahead *ahead, int fd, struct mono now)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	ahead->look_next = mono_add_usec(now, LOOK_USEC);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	    len >= offsetof(struct tcp_info, tcpi_delivery_rate) + sizeof(info.tcpi_delivery_rate))
		ahead_note(ahead, now, info.tcpi_rtt, info.tcpi_min_rtt, info.tcpi_delivery_rate);
}

size_t ahead_room(struct ahead *ahead, int fd, struct mono now)
{
	int under_way;

	if (!mono_before(now, ahead->look_next))
		look(ahead, fd, now);
	if (!mono_before(now, ahead->bounded_until) || ioctl(fd, SIOCOUTQ, &under_way) < 0)
		return SIZE_MAX;
	return (uint64_t)under_way < ahead->limit ? (size_t)(ahead->limit - (uint64_t)under_way) : 0;
}
