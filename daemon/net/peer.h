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
	uint32_t *groups; /* supplementary; owned */
	size_t group_count;
};

/* 0, -ENOMEM, or what the kernel refused. */
int peer_init(struct peer *peer, int fd) __attribute__((warn_unused_result));

/* Frees the groups. */
void peer_deinit(struct peer *peer);
