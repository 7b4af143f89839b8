#include "daemon/net/ahead.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <sys/socket.h>

#define LOOK_USEC 5000u
#define QUEUE_USEC 1000u /* a round trip so much longer than the shortest had to queue */
#define BOUNDED_USEC (2 * USEC_PER_SEC)
#define LITTLE_MORE_BYTES 20480u
#define LITTLE_MORE_SEGMENTS 4u

void ahead_note(struct ahead *ahead, struct mono now, const struct ahead_path *path)
{
	uint64_t little = MAX(LITTLE_MORE_BYTES, LITTLE_MORE_SEGMENTS * path->segment_bytes);

	if (path->rtt_usec > path->min_rtt_usec + path->min_rtt_usec / 4 + QUEUE_USEC)
		ahead->bounded_until = mono_add_usec(now, BOUNDED_USEC);
	/* A quarter more than was measured, so that it finds out when the link can take more. */
	ahead->limit = little + path->rate / USEC_PER_SEC * path->min_rtt_usec / 4 * 5;
}

static void look(struct ahead *ahead, int fd, struct mono now)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	ahead->look_next = mono_add_usec(now, LOOK_USEC);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	    len >= offsetof(struct tcp_info, tcpi_delivery_rate) + sizeof(info.tcpi_delivery_rate))
		ahead_note(ahead, now,
			   &(struct ahead_path){
			       .rtt_usec = info.tcpi_rtt,
			       .min_rtt_usec = info.tcpi_min_rtt,
			       .rate = info.tcpi_delivery_rate,
			       .segment_bytes = info.tcpi_snd_mss,
			   });
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
