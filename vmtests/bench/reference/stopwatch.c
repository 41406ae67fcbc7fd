/*
 * The agent of the bench's guests. It notes in the kernel log when it starts and when two NICs have their addresses. When the
 * guest's memory use no longer changes, it copies the kernel log and the memory use to the share, and reports this on the
 * console. It is as small as possible, because it shares the processor and the share with the boot that is measured.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The directory for the results. */
#define SHARE "/arcbox/stopwatch/"

/*
 * The guest is at rest when its available memory has not changed by more than a few pages, in KiB, for eight looks, or 2 s.
 * The kernel's own work takes and gives back that much.
 */
enum { looks = 8, pages = 32 };
static const struct timespec every = {.tv_nsec = 250000000};

/* note writes a line with the name of this program. */
static void note(const char *where, const char *text)
{
	int file = open(where, O_WRONLY | O_NOCTTY | O_CLOEXEC);

	if (file < 0)
		return;
	dprintf(file, "stopwatch: %s\n", text);
	close(file);
}

/* die notes what failed and waits. The host stops the guest after a time limit. */
static void die(const char *what)
{
	char why[256];

	snprintf(why, sizeof why, "failed: %s: %s", what, strerror(errno));
	note("/dev/console", why);
	for (;;)
		pause();
}

/*
 * addresses asks over the netlink socket for all IPv4 addresses and counts them. It returns -1 if an address came or went while
 * it read the answer, which may not have that one.
 */
static int addresses(int netlink)
{
	struct {
		struct nlmsghdr header;
		struct ifaddrmsg what;
	} request = {
		.header = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_GETADDR, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, .nlmsg_seq = 1},
		.what = {.ifa_family = AF_INET},
	};
	static char buffer[16384];
	struct nlmsghdr *message;
	ssize_t length;
	int count = 0, changed = 0;

	if (send(netlink, &request, sizeof request, 0) < 0)
		die("ask for addresses");
	for (;;) {
		length = recv(netlink, buffer, sizeof buffer, 0);
		if (length < 0)
			die("hear of addresses");
		for (message = (struct nlmsghdr *)buffer; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
			/* Multicast messages that arrive meanwhile have another sequence number. */
			if (message->nlmsg_seq != 1) {
				changed = 1;
				continue;
			}
			if (message->nlmsg_type == NLMSG_DONE)
				return changed ? -1 : count;
			count += message->nlmsg_type == RTM_NEWADDR;
		}
	}
}

/* await_networks returns when there are two addresses in addition to the loopback's. */
static void await_networks(void)
{
	struct sockaddr_nl group = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR};
	char buffer[4096];
	int count, netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (netlink < 0 || bind(netlink, (struct sockaddr *)&group, sizeof group) != 0)
		die("netlink");
	while ((count = addresses(netlink)) < 3) {
		if (count >= 0 && recv(netlink, buffer, sizeof buffer, 0) < 0)
			die("wait for addresses");
	}
	close(netlink);
}

/* read_text reads up to size - 1 bytes and appends a zero byte. */
static void read_text(const char *path, char *text, size_t size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? -1 : read(file, text, size - 1);

	if (length < 0)
		die(path);
	close(file);
	text[length] = 0;
}

static long available_memory(void)
{
	char text[4096], *line;

	read_text("/proc/meminfo", text, sizeof text);
	line = strstr(text, "MemAvailable:");
	return line ? atol(line + sizeof "MemAvailable:" - 1) : 0;
}

static void settle(void)
{
	long last = 0, available;
	int same = 0;

	while (same < looks) {
		available = available_memory();
		if (labs(available - last) > pages) {
			last = available;
			same = 0;
		} else {
			same++;
		}
		nanosleep(&every, NULL);
	}
}

/* append copies what can be read from one open file to the end of another. */
static void append(int to, int from)
{
	static char buffer[65536];
	ssize_t length;

	/* The kernel log gives one record a read, EAGAIN at its end, and EPIPE if it has overwritten records meanwhile. */
	while ((length = read(from, buffer, sizeof buffer)) > 0 || (length < 0 && errno == EPIPE)) {
		if (length > 0 && write(to, buffer, length) != length)
			die("write on the share");
	}
}

static int create(const char *name)
{
	char path[PATH_MAX];
	int file;

	snprintf(path, sizeof path, SHARE "%s", name);
	file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (file < 0)
		die(path);
	return file;
}

/* keep copies a file to the share. */
static void keep(const char *path, const char *name)
{
	int from = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), to = create(name);

	if (from < 0)
		die(path);
	append(to, from);
	close(from);
	close(to);
}

/* keep_processes copies smaps_rollup of all other processes, each after a line with the process ID. */
static void keep_processes(void)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	int to = create("processes"), from;

	if (!dir)
		die("/proc");
	while ((entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]) || atol(entry->d_name) == getpid())
			continue;
		snprintf(path, sizeof path, "/proc/%s/smaps_rollup", entry->d_name);
		from = open(path, O_RDONLY | O_CLOEXEC);
		if (from < 0)
			continue; /* the process has ended */
		dprintf(to, "Process: %s\n", entry->d_name);
		append(to, from); /* empty for a kernel thread */
		close(from);
	}
	closedir(dir);
	close(to);
}

/* asked_for_symbols returns whether the command line asks for the kernel's symbols, which take long to read. */
static int asked_for_symbols(void)
{
	char text[16384];

	read_text("/proc/cmdline", text, sizeof text);
	return strstr(text, "stopwatch.symbols") != NULL;
}

/* note_clock writes the time that arcinit's reports use, to compare it with the kernel log's. */
static void note_clock(void)
{
	char text[64];
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	snprintf(text, sizeof text, "boottime %lld", now.tv_sec * 1000000000LL + now.tv_nsec);
	note("/dev/kmsg", text);
}

int main(void)
{
	note("/dev/kmsg", "agent");
	note_clock();
	await_networks();
	note("/dev/kmsg", "networks");
	settle();
	if (mkdir(SHARE, 0755) != 0)
		die(SHARE);
	/* Memory use comes first, since the other copies use memory. */
	keep("/proc/meminfo", "meminfo");
	keep("/proc/zoneinfo", "zoneinfo");
	keep_processes();
	keep("/proc/cmdline", "cmdline");
	if (access("/run/arcbox/net.json", R_OK) == 0) /* not in the reference's guests */
		keep("/run/arcbox/net.json", "net.json");
	if (asked_for_symbols())
		keep("/proc/kallsyms", "kallsyms");
	keep("/dev/kmsg", "kmsg");
	note("/dev/console", "done");
	for (;;) /* the host ends the guest */
		pause();
}
