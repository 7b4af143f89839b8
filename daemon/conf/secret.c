#include "daemon/conf/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files there belong to the service manager, which gives them to us alone. */
static bool under_credentials_directory(const char *path)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	size_t len = directory ? strlen(directory) : 0;

	if (len == 0 || directory[0] != '/')
		return false;
	return strncmp(path, directory, len) == 0 && path[len] == '/' && !strstr(path + len, "/../");
}

static int check_file(int fd, struct conf_place place, struct conf_errors *errors)
{
	struct stat st;

	if (fstat(fd, &st) < 0) {
		conf_error(errors, place, "%s", strerror(errno));
		return -EIO;
	}
	if (!S_ISREG(st.st_mode)) {
		conf_error(errors, place, "not a regular file");
		return -EINVAL;
	}
	if (under_credentials_directory(place.source))
		return 0;
	if (st.st_uid != 0 && st.st_uid != geteuid()) {
		conf_error(errors, place, "belongs to uid %u; it must be root's or muxd's own (uid %u)",
			   (unsigned int)st.st_uid, (unsigned int)geteuid());
		return -EPERM;
	}
	if (st.st_mode & (S_IRWXG | S_IRWXO)) {
		conf_error(errors, place, "mode %04o: others may use it; chmod it to 0600",
			   (unsigned int)(st.st_mode & 07777));
		return -EPERM;
	}
	return 0;
}

static int read_line(int fd, struct conf_secret *secret)
{
	size_t len = 0;

	for (;;) {
		ssize_t n = read(fd, secret->text + len, sizeof(secret->text) - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len == sizeof(secret->text))
			return -EFBIG;
	}
	if (len > 0 && secret->text[len - 1] == '\n')
		len--;
	if (len > 0 && secret->text[len - 1] == '\r')
		len--;
	secret->text[len] = 0;
	secret->len = len;
	if (len == 0)
		return -ENODATA;
	return memchr(secret->text, 0, len) || memchr(secret->text, '\n', len) ? -EINVAL : 0;
}

static const char *reason(int r)
{
	switch (r) {
	case -EFBIG:
		return "longer than a password can be (4096 bytes)";
	case -ENODATA:
		return "is empty";
	case -EINVAL:
		return "more than one line, or a NUL byte";
	default:
		return strerror(-r);
	}
}

int conf_read_password(const char *path, struct conf_secret *ret, struct conf_errors *errors)
{
	struct conf_place place = {.source = path};
	/* Not blocking: a FIFO there must not hold the start. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int r;

	if (fd < 0) {
		r = -errno;
		conf_error(errors, place, "%s", strerror(-r));
		return r;
	}
	r = check_file(fd, place, errors);
	if (r == 0) {
		r = read_line(fd, ret);
		if (r < 0) {
			conf_secret_wipe(ret);
			conf_error(errors, place, "%s", reason(r));
		}
	}
	close(fd);
	return r;
}

void conf_secret_wipe(struct conf_secret *secret)
{
	explicit_bzero(secret, sizeof(*secret));
}
