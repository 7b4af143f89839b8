/*
 * probe FILE: stands in muxd's place in its unit, and tries what somebody would
 * who has taken muxd over. Prints `ok: ...` and `FAILED: ...` lines. FILE is in
 * the machine's /tmp.
 *
 * Exit code 0 if nothing was possible that should not be.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static bool all_good = true;

static void say(bool good, const char *sentence)
{
	printf("%s: %s\n", good ? "ok" : "FAILED", sentence);
	all_good = all_good && good;
}

/* r: what a call returned that must fail. */
static void refused(const char *what, long r)
{
	char line[256];

	(void)snprintf(line, sizeof(line), "%s is refused%s%s", what, r < 0 ? ": " : "",
		       r < 0 ? strerror(errno) : "");
	say(r < 0, line);
}

static long try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	return fd;
}

static void probe_files(const char *outside)
{
	struct stat st;
	long r;

	refused("writing to /etc", try_open("/etc/muxd-probe", O_WRONLY | O_CREAT));
	refused("writing to its configuration's folder", try_open("/etc/muxd/probe", O_WRONLY | O_CREAT));
	refused("writing to /usr", try_open("/usr/muxd-probe", O_WRONLY | O_CREAT));
	refused("writing to /var", try_open("/var/lib/muxd-probe", O_WRONLY | O_CREAT));
	refused("writing beside the socket", try_open("/run/muxd/muxd-probe", O_WRONLY | O_CREAT));
	refused("writing to its own program", try_open("/proc/self/exe", O_WRONLY));
	refused("opening a home folder", try_open("/root", O_RDONLY | O_DIRECTORY));
	refused("seeing what others have in /tmp", stat(outside, &st));
	refused("reading the shadow file", try_open("/etc/shadow", O_RDONLY));
	refused("opening the memory device", try_open("/dev/mem", O_RDONLY));
	refused("opening the kernel's log", try_open("/dev/kmsg", O_RDONLY));
	refused("making a device", mknod("/tmp/device", S_IFCHR | 0600, 0x103));
	r = try_open("/tmp/own", O_WRONLY | O_CREAT);
	say(r >= 0, "a temporary file of its own can be made");
	refused("making a file set-uid", chmod("/tmp/own", 04755));
	refused("giving a file away", chown("/tmp/own", 0, 0));
}

static void probe_proc(void)
{
	DIR *dir = opendir("/proc");
	unsigned int others = 0;
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		others += entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
			  strtol(entry->d_name, NULL, 10) != getpid();
	if (dir)
		closedir(dir);
	say(dir && others == 0, "no other process is to be seen in /proc");
	refused("reading the machine's memory figures", try_open("/proc/meminfo", O_RDONLY));
	refused("writing to a kernel tunable", try_open("/proc/sys/kernel/hostname", O_WRONLY));
	refused("writing to the control groups", try_open("/sys/fs/cgroup/cgroup.procs", O_WRONLY));
}

static long try_socket(int family, int type)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd;
}

static void probe_network(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	say(fd >= 0 && try_socket(AF_INET6, SOCK_STREAM) + 1 > 0 && try_socket(AF_UNIX, SOCK_STREAM) >= 0,
	    "sockets to the broker and to clients can be made");
	refused("binding a port", bind(fd, (struct sockaddr *)&address, sizeof(address)));
	refused("listening", listen(fd, 1));
	close(fd);
	refused("a raw socket", try_socket(AF_INET, SOCK_RAW));
	refused("a packet socket", try_socket(AF_PACKET, SOCK_RAW));
	refused("a netlink socket", try_socket(AF_NETLINK, SOCK_RAW));
	refused("a socket of another family", try_socket(AF_VSOCK, SOCK_STREAM));
}

static void probe_memory(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	say(page != MAP_FAILED, "memory can be mapped");
	refused("making written memory executable", mprotect(page, 4096, PROT_READ | PROT_EXEC));
	refused("memory to write and execute", (long)mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
							  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	refused("locking memory", mlockall(MCL_CURRENT));
	refused("another personality", personality(ADDR_NO_RANDOMIZE));
}

static void probe_privileges(void)
{
	struct sched_param param = {.sched_priority = 1};
	long r;

	say(geteuid() != 0 && getuid() != 0 && getegid() != 0, "it is not root");
	refused("becoming root", setresuid(0, 0, 0));
	refused("becoming root's group", setresgid(0, 0, 0));
	refused("other groups", syscall(SYS_setgroups, 0, NULL));
	refused("real-time scheduling", sched_setscheduler(0, SCHED_FIFO, &param));
	refused("a better priority", setpriority(PRIO_PROCESS, 0, -1));
	refused("a user namespace", syscall(SYS_unshare, CLONE_NEWUSER));
	refused("a mount namespace", syscall(SYS_unshare, CLONE_NEWNS));
	r = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
	if (r == 0)
		_exit(0);
	refused("a process in a user namespace", r);
	refused("mounting", mount("none", "/tmp", "tmpfs", 0, NULL));
	refused("another root", chroot("/tmp"));
	refused("tracing", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	refused("another host name", sethostname("x", 1));
	refused("setting the clock", syscall(SYS_clock_settime, CLOCK_REALTIME, NULL));
	refused("a kernel module", syscall(SYS_init_module, NULL, 0, ""));
	refused("a BPF program", syscall(SYS_bpf, 0, NULL, 0));
	refused("the machine's performance counters", syscall(SYS_perf_event_open, NULL, 0, 0, -1, 0));
	refused("handling page faults itself", syscall(SYS_userfaultfd, 0));
	refused("a ring of io_uring", syscall(SYS_io_uring_setup, 1, NULL));
	refused("a key", syscall(SYS_add_key, "user", "probe", "x", 1, KEY_SPEC_PROCESS_KEYRING));
	refused("shared memory of System V", syscall(SYS_shmget, 1, 4096, 01600));
	refused("a message queue of System V", syscall(SYS_msgget, 1, 01600));
}

static void *wait_for_ever(void *arg)
{
	pause();
	return NULL;
}

static void probe_limits(void)
{
	pthread_t thread;
	struct rlimit limit;
	unsigned int count = 0;

	getrlimit(RLIMIT_NOFILE, &limit);
	say(limit.rlim_cur == limit.rlim_max && limit.rlim_cur >= 16384,
	    "there are descriptors for all sessions");
	getrlimit(RLIMIT_CORE, &limit);
	say(limit.rlim_max == 0, "no core is written");
	while (count < 64 && pthread_create(&thread, NULL, wait_for_ever, NULL) == 0)
		count++;
	say(count >= 2 && count < 16, "it can make few threads");
}

/* At last: if it succeeds, nothing of this program is left. */
static void probe_exec(void)
{
	fflush(stdout);
	refused("running a shell", execl("/bin/sh", "sh", "-c",
					 "echo FAILED: running a shell is refused; exit 1", (char *)NULL));
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	probe_files(argc > 1 ? argv[1] : "");
	probe_proc();
	probe_network();
	probe_memory();
	probe_privileges();
	probe_limits();
	probe_exec();
	_exit(!all_good);
}
