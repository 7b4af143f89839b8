#include "config.h"

#include "daemon/conf/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_BYTES_MAX (4 << 20)
#define LABEL_MAX 96u

/* Files there belong to the service manager, which gives them to us alone. */
static bool under_credentials_directory(const char *path)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	size_t len = directory ? strlen(directory) : 0;

	if (len == 0 || directory[0] != '/')
		return false;
	return strncmp(path, directory, len) == 0 && path[len] == '/' && !strstr(path + len, "/../");
}

/* Whether nobody else can read a secret, or change what we trust. */
static int check_mode(const struct stat *st, bool is_secret, struct conf_place place,
		      struct conf_errors *errors)
{
	if (under_credentials_directory(place.source))
		return 0;
	if (!is_secret && st->st_mode & S_IWOTH) {
		conf_error(errors, place, "mode %04o: anybody can change it; chmod it to 0644",
			   (unsigned int)(st->st_mode & 07777));
		return -EPERM;
	}
	if (!is_secret)
		return 0;
	if (st->st_uid != 0 && st->st_uid != geteuid()) {
		conf_error(errors, place, "belongs to uid %u; it must be root's or muxd's own (uid %u)",
			   (unsigned int)st->st_uid, (unsigned int)geteuid());
		return -EPERM;
	}
	if (st->st_mode & (S_IRWXG | S_IRWXO)) {
		conf_error(errors, place, "mode %04o: others may use it; chmod it to 0600",
			   (unsigned int)(st->st_mode & 07777));
		return -EPERM;
	}
	return 0;
}

static int check_file(int fd, bool is_secret, struct conf_place place, struct conf_errors *errors)
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
	return check_mode(&st, is_secret, place, errors);
}

/* A descriptor, or a negative errno with the error listed. */
static int open_file(const char *path, bool is_secret, struct conf_errors *errors)
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
	r = check_file(fd, is_secret, place, errors);
	if (r == 0)
		return fd;
	close(fd);
	return r;
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
	int fd = open_file(path, true, errors);
	int r;

	if (fd < 0)
		return fd;
	r = read_line(fd, ret);
	if (r < 0) {
		conf_secret_wipe(ret);
		conf_error(errors, place, "%s", reason(r));
	}
	close(fd);
	return r;
}

void conf_secret_wipe(struct conf_secret *secret)
{
	explicit_bzero(secret, sizeof(*secret));
}

/* ------------------------------------------------------------------ files of an upstream */

struct named_file {
	const char *key;
	const char *path;
	unsigned int line;
};

static struct named_file named(const struct conf_upstream *upstream, enum conf_file file)
{
	switch (file) {
	case CONF_FILE_TLS_CA:
		return (struct named_file){"tls-ca", upstream->tls_ca, upstream->tls_ca_line};
	case CONF_FILE_TLS_CERT:
		return (struct named_file){"tls-cert", upstream->tls_cert, upstream->tls_cert_line};
	case CONF_FILE_TLS_KEY:
		return (struct named_file){"tls-key", upstream->tls_key, upstream->tls_key_line};
	case CONF_FILE_PASSWORD:
		break;
	}
	return (struct named_file){"password-file", upstream->password_file, upstream->password_file_line};
}

/* What stands before the text of an error has the file of the configuration, if the key stands there. */
static void list_error(const struct conf_upstream *upstream, enum conf_file file, const char *text,
		       struct conf_errors *errors)
{
	struct named_file its = named(upstream, file);
	char label[LABEL_MAX];

	(void)snprintf(label, sizeof(label), "upstream \"%s\"", upstream->name);
	conf_error(errors,
		   (struct conf_place){.source = upstream->file ? upstream->file : upstream->source,
				       .line = its.line,
				       .section = label,
				       .key = its.key},
		   "%s", text);
}

void conf_file_error(const struct conf_upstream *upstream, enum conf_file file, const char *text,
		     struct conf_errors *errors)
{
	char *whole = NULL;

	if (asprintf(&whole, "%s: %s", named(upstream, file).path, text) < 0)
		whole = NULL;
	if (whole)
		list_error(upstream, file, whole, errors);
	else
		errors->incomplete = true;
	free(whole);
}

/* From errors that begin with the path to those that begin with where it is named. */
static void pass_on(const struct conf_upstream *upstream, enum conf_file file, struct conf_errors *from,
		    struct conf_errors *to)
{
	for (size_t i = 0; i < from->count; i++)
		list_error(upstream, file, from->texts[i], to);
	to->incomplete |= from->incomplete;
	conf_errors_deinit(from);
}

int conf_read_upstream_password(const struct conf_upstream *upstream, struct conf_secret *ret,
				struct conf_errors *errors)
{
	struct conf_errors own = CONF_ERRORS_INIT;
	int r = conf_read_password(upstream->password_file, ret, &own);

	pass_on(upstream, CONF_FILE_PASSWORD, &own, errors);
	return r;
}

/* All of a file; without growing the block, which would leave copies behind. */
static int read_bytes(int fd, struct buf *ret)
{
	struct stat st;
	size_t room;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size > PEM_BYTES_MAX)
		return -EFBIG;
	room = (size_t)st.st_size + 1;
	if (!buf_reserve(ret, room))
		return -ENOMEM;
	for (;;) {
		ssize_t n = read(fd, ret->data + ret->end, room - buf_len(ret));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return buf_len(ret) > 0 ? 0 : -ENODATA;
		buf_commit(ret, (size_t)n);
		if (buf_len(ret) == room) /* it has grown meanwhile */
			return -EAGAIN;
	}
}

static const char *pem_reason(int r)
{
	switch (r) {
	case -EFBIG:
		return "larger than certificates and keys can be (4 MiB)";
	case -ENODATA:
		return "is empty";
	case -EAGAIN:
		return "changed while it was read, or is no file on a disk; try again";
	default:
		return strerror(-r);
	}
}

int conf_read_pem(const struct conf_upstream *upstream, enum conf_file file, struct buf *ret,
		  struct conf_errors *errors)
{
	struct named_file its = named(upstream, file);
	struct conf_errors own = CONF_ERRORS_INIT;
	int fd, r;

	*ret = BUF_INIT;
	if (its.path[0] == 0)
		return 0;
	fd = open_file(its.path, file == CONF_FILE_TLS_KEY, &own);
	r = fd < 0 ? fd : read_bytes(fd, ret);
	if (fd >= 0) {
		close(fd);
		if (r < 0)
			conf_error(&own, (struct conf_place){.source = its.path}, "%s", pem_reason(r));
	}
	pass_on(upstream, file, &own, errors);
	return r;
}

void conf_bytes_wipe(struct buf *bytes)
{
	if (bytes->data)
		explicit_bzero(bytes->data, bytes->capacity);
	buf_deinit(bytes);
}
