/*
 * Before libc's accept4(): fails with the error number that is in the file
 * $FAULTY_FILE, if there is one. See hostile.sh.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	static int (*real)(int, struct sockaddr *, socklen_t *, int);
	const char *path = getenv("FAULTY_FILE");
	FILE *file = path ? fopen(path, "r") : NULL;
	int error = 0;

	if (file) {
		if (fscanf(file, "%d", &error) != 1)
			error = 0;
		(void)fclose(file);
	}
	if (error) {
		errno = error;
		return -1;
	}
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "accept4");
	return real(fd, address, len, flags);
}
