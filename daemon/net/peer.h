/*
 * Who is at the other end of a Unix socket, as the kernel knows it from the
 * moment of connect().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct peer {
	uint32_t uid;
	uint32_t gid;
	uint32_t pid;	  /* 0: of another pid namespace */
	uint32_t *groups; /* supplementary, in ascending order; owned */
	size_t group_count;
	int fd; /* not ours */
};

/* All but the groups. 0, or what the kernel refused. */
int peer_init(struct peer *peer, int fd) __attribute__((warn_unused_result));

/*
 * The groups, as they were at connect() too; while the descriptor is open. They
 * may be 65,536, a quarter of a megabyte, so they are read when somebody asks
 * for them. 0, -ENOMEM, or what the kernel refused.
 */
int peer_read_groups(struct peer *peer) __attribute__((warn_unused_result));

/* Frees the groups. */
void peer_deinit(struct peer *peer);
