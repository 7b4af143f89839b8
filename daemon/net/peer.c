#include "config.h"

#include "daemon/net/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>

/* The kernel fills an array of gid_t. */
_Static_assert(sizeof(gid_t) == sizeof(uint32_t), "gid_t is not 32 bits");

/* Groups asked for at first; the kernel says how many there are if that is too few. */
#define GROUPS_GUESS 32u

static int compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

/* They are in order by the ids of the kernel, and mostly by ours. */
static void sort(uint32_t *groups, size_t count)
{
	size_t i = 1;

	while (i < count && groups[i - 1] <= groups[i])
		i++;
	if (i < count)
		qsort(groups, count, sizeof(*groups), compare);
}

/* With room for *size bytes; -ERANGE: for *size bytes it must be. */
static int read_groups(struct peer *peer, socklen_t *size)
{
	uint32_t *groups = realloc(peer->groups, *size);

	if (!groups)
		return -ENOMEM;
	peer->groups = groups;
	if (getsockopt(peer->fd, SOL_SOCKET, SO_PEERGROUPS, groups, size) < 0)
		return -errno;
	peer->group_count = *size / sizeof(*groups);
	sort(groups, peer->group_count);
	return 0;
}

int peer_init(struct peer *peer, int fd)
{
	struct ucred cred;
	socklen_t size = sizeof(cred);

	*peer = (struct peer){.fd = fd};
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
		return -errno;
	peer->uid = cred.uid;
	peer->gid = cred.gid;
	peer->pid = cred.pid > 0 ? (uint32_t)cred.pid : 0;
	return 0;
}

int peer_read_groups(struct peer *peer)
{
	socklen_t size = GROUPS_GUESS * sizeof(*peer->groups);
	int r = read_groups(peer, &size);

	if (r == -ERANGE) /* they are those at its connect(): it does not happen twice */
		r = read_groups(peer, &size);
	if (r == -ENOPROTOOPT) /* Linux before 4.13: known by uid and gid alone */
		r = 0;
	if (r < 0 || peer->group_count == 0)
		peer_deinit(peer);
	return r;
}

void peer_deinit(struct peer *peer)
{
	free(peer->groups);
	peer->groups = NULL;
	peer->group_count = 0;
}
