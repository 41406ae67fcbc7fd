/*
 * The reference's set-up of the guest: a native program that the disk's init script execs, with busybox ip, busybox udhcpc
 * and iptables as helpers. `make bench` compares arcinit with it. So it makes the reference's system calls in the same order,
 * and only adds notes in the kernel log. Where the reference leaves a choice, this program takes the faster way: it spawns
 * helpers without a copy of its address space, and sends their output to /dev/null, not to a serial port.
 *
 * It notes every failure, and the bench rejects a boot with such a note.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { descriptors = 1048576 };

static char *const environment[] = {"HOME=/", "PATH=/sbin:/usr/sbin:/bin:/usr/bin", NULL};

/* note writes a line into the kernel log. The bench takes the times from there. */
static void note(const char *what, const char *which)
{
	int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (log < 0)
		return;
	dprintf(log, "reference: %s%s\n", what, which);
	close(log);
}

static void failed(const char *what)
{
	char why[256];

	snprintf(why, sizeof why, "%s: %s", what, strerror(errno));
	note("failed: ", why);
}

static void write_file(const char *path, const char *text)
{
	size_t length = strlen(text);
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (file < 0 || write(file, text, length) != (ssize_t)length)
		failed(path);
	if (file >= 0)
		close(file);
}

/* read_file reads up to size - 1 bytes and appends a zero byte. */
static ssize_t read_file(const char *path, char *text, size_t size)
{
	ssize_t length;
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0)
		return -1;
	length = read(file, text, size - 1);
	close(file);
	text[length < 0 ? 0 : length] = 0;
	return length;
}

/* make_dirs makes a directory and its missing parents. */
static void make_dirs(const char *path)
{
	char above[PATH_MAX];
	struct stat status;
	char *slash;

	if (mkdir(path, 0777) == 0)
		return;
	if (errno == ENOENT) {
		snprintf(above, sizeof above, "%s", path);
		slash = strrchr(above, '/');
		if (slash && slash != above) {
			*slash = 0;
			make_dirs(above);
			if (mkdir(path, 0777) == 0)
				return;
		}
	}
	if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
		failed(path);
}

static int mounted(const char *target)
{
	static char mounts[65536];
	char second[PATH_MAX];

	if (read_file("/proc/mounts", mounts, sizeof mounts) < 0)
		return 0;
	snprintf(second, sizeof second, " %s ", target);
	return strstr(mounts, second) != NULL;
}

static void mount_once(const char *source, const char *target, const char *type, unsigned long flags)
{
	if (mounted(target))
		return;
	make_dirs(target);
	if (mount(source, target, type, flags, NULL) != 0)
		failed(target);
}

/* mount_share mounts an optional share. It returns whether the share is mounted. */
static int mount_share(const char *tag, const char *target, unsigned long flags, const char *options)
{
	if (mounted(target))
		return 1;
	make_dirs(target);
	return mount(tag, target, "virtiofs", flags, options) == 0;
}

static void raise_limits(void)
{
	struct rlimit limit;
	char text[32];

	if (read_file("/proc/sys/fs/nr_open", text, sizeof text) < 0 || atol(text) < descriptors)
		write_file("/proc/sys/fs/nr_open", "1048576\n");
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= descriptors && limit.rlim_max >= descriptors)
		return;
	limit.rlim_cur = limit.rlim_max = descriptors;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		failed("RLIMIT_NOFILE");
}

static void write_etc(void)
{
	char name[256], hosts[512];

	if (gethostname(name, sizeof name) != 0)
		strcpy(name, "arcbox");
	snprintf(hosts, sizeof hosts, "127.0.0.1\tlocalhost\n::1\t\tlocalhost\n127.0.1.1\t%s\n", name);
	write_file("/etc/resolv.conf", "nameserver 127.0.0.1\n");
	write_file("/etc/hosts", hosts);
	write_file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n");
	write_file("/etc/group", "root:x:0:\ntty:x:5:\nnobody:x:65534:\n");
	make_dirs("/etc/docker");
	write_file("/etc/docker/daemon.json",
		   "{\"default-ulimits\":{\"nofile\":{\"Hard\":1048576,\"Name\":\"nofile\",\"Soft\":1048576}},"
		   "\"dns\":[\"10.0.2.1\"],\"features\":{\"containerd-snapshotter\":true}}");
	make_dirs("/etc/ssl/certs");
	if (access("/cacerts/ca-certificates.crt", F_OK) == 0 &&
	    symlink("/cacerts/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt") != 0 && errno != EEXIST)
		failed("/etc/ssl/certs/ca-certificates.crt");
}

static void mount_pseudo(void)
{
	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) != 0) {
		make_dirs("/sys/fs/cgroup");
		if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL) != 0)
			failed("/sys/fs/cgroup");
	}
	if (access("/dev/pts/ptmx", F_OK) != 0) {
		make_dirs("/dev/pts");
		if (mount("devpts", "/dev/pts", "devpts", MS_NOEXEC | MS_NOSUID, "gid=5,mode=0620") != 0)
			failed("/dev/pts");
	}
	mount_once("shm", "/dev/shm", "tmpfs", MS_NODEV | MS_NOSUID | MS_NOEXEC);
}

/*
 * fill_caches mounts over the directory of each cache one with the attributes that the kernel does not know. QEMU's machine
 * for amd64 has all attributes, the one for arm64 lacks these.
 */
static void fill_caches(void)
{
	static const struct {
		const char *name, *values[4];
	} attributes[] = {
		{"size", {"64K\n", "64K\n", "1024K\n", "8192K\n"}},
		{"coherency_line_size", {"64\n", "64\n", "64\n", "64\n"}},
		{"number_of_sets", {"256\n", "256\n", "2048\n", "8192\n"}},
	};
	char dir[PATH_MAX], filled[PATH_MAX], path[PATH_MAX], text[4096];
	struct dirent *entry;
	size_t i;
	int cache;
	DIR *all;

	for (cache = 0; snprintf(dir, sizeof dir, "/sys/devices/system/cpu/cpu0/cache/index%d", cache), chdir(dir) == 0; cache++) {
		snprintf(filled, sizeof filled, "/run/cache/index%d", cache);
		all = NULL;
		for (i = 0; i < sizeof attributes / sizeof *attributes; i++) {
			if (access(attributes[i].name, F_OK) == 0)
				continue;
			make_dirs(filled);
			snprintf(path, sizeof path, "/run/cache/index%d/%s", cache, attributes[i].name);
			write_file(path, attributes[i].values[cache < 3 ? cache : 3]);
			if (!all && !(all = opendir(".")))
				failed(dir);
		}
		if (!all)
			continue;
		while ((entry = readdir(all))) {
			snprintf(path, sizeof path, "/run/cache/index%d/%s", cache, entry->d_name);
			if (entry->d_type == DT_REG && read_file(entry->d_name, text, sizeof text) >= 0)
				write_file(path, text);
		}
		closedir(all);
		if (mount(filled, dir, NULL, MS_BIND, NULL) != 0)
			failed(dir);
	}
}

/* run runs a program and waits until it ends. */
static void run(const char *program, const char *const argv[])
{
	posix_spawn_file_actions_t actions;
	int error, status;
	pid_t child;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	error = posix_spawn(&child, program, &actions, NULL, (char *const *)argv, environment);
	posix_spawn_file_actions_destroy(&actions);
	if (error) {
		errno = error;
		failed(program);
	} else if (waitpid(child, &status, 0) != child) {
		failed(program);
	} else if (status) {
		note("failed: ", argv[1]);
	}
}

#define RUN(program, ...) run(program, (const char *const[]){program, __VA_ARGS__, NULL})
#define BUSYBOX(...) RUN("/bin/busybox", __VA_ARGS__)
#define IPTABLES(...) RUN("/sbin/iptables", __VA_ARGS__)

/* first_nic finds the NIC whose name sorts first, without virtual NICs and without leave_out. */
static int first_nic(char *name, size_t size, const char *leave_out)
{
	static const char *const others[] = {"dummy", "veth", "br-", "docker", "vmtap", "sit"};
	struct dirent *entry;
	DIR *dir = opendir("/sys/class/net");
	int found = 0;
	size_t i;

	if (!dir)
		return 0;
	while ((entry = readdir(dir))) {
		int other = entry->d_name[0] == '.' || strcmp(entry->d_name, "lo") == 0 ||
			    (leave_out && strcmp(entry->d_name, leave_out) == 0);

		for (i = 0; i < sizeof others / sizeof *others; i++)
			other |= strncmp(entry->d_name, others[i], strlen(others[i])) == 0;
		if (other || (found && strcmp(entry->d_name, name) >= 0))
			continue;
		snprintf(name, size, "%s", entry->d_name);
		found = 1;
	}
	closedir(dir);
	return found;
}

/* lease brings a NIC up, writes udhcpc's script, and runs udhcpc to get an address. */
static void lease(const char *nic, const char *script, const char *text)
{
	BUSYBOX("ip", "link", "set", nic, "up");
	write_file(script, text);
	if (chmod(script, 0755) != 0)
		failed(script);
	BUSYBOX("udhcpc", "-i", nic, "-n", "-q", "-t", "3", "-T", "2", "-s", script);
}

/* The build makes these strings from the files primary and bridge in this directory. */
extern const char primary_script[], bridge_script[];

static void set_up_network(void)
{
	char primary[NAME_MAX + 1], bridge[NAME_MAX + 1], path[PATH_MAX];

	write_file("/proc/sys/net/ipv4/ip_forward", "1\n");
	BUSYBOX("ip", "link", "set", "lo", "up");
	if (!first_nic(primary, sizeof primary, NULL)) {
		note("failed: ", "no NIC");
		return;
	}
	lease(primary, "/run/udhcpc.script", primary_script);
	note("primary", "");
	if (!first_nic(bridge, sizeof bridge, primary)) {
		note("failed: ", "no second NIC");
		return;
	}
	lease(bridge, "/run/udhcpc-bridge.script", bridge_script);
	note("networks", "");
	snprintf(path, sizeof path, "/proc/sys/net/ipv4/conf/%s/proxy_arp", bridge);
	write_file(path, "1\n");
	IPTABLES("-I", "FORWARD", "-i", bridge, "-j", "ACCEPT");
	IPTABLES("-I", "FORWARD", "-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT");
}

static void forward_sandboxes(void)
{
	char config[4096];

	/* The bench's disk has no such file, so the subnet is the default. */
	if (read_file("/etc/arcbox/vmm.toml", config, sizeof config) >= 0)
		note("failed: ", "a configuration that this does not read");
	IPTABLES("-I", "FORWARD", "-d", "172.20.0.0/16", "-j", "ACCEPT");
	IPTABLES("-I", "FORWARD", "-s", "172.20.0.0/16", "-j", "ACCEPT");
}

int main(void)
{
	static const char *const layers[] = {"/tmp", "/run", "/var", "/etc"};
	char *const stopwatch[] = {"/arcbox/bin/stopwatch", NULL};
	size_t i;

	note("main", "");
	raise_limits();
	mount_share("private", "/private", 0, NULL);
	for (i = 0; i < sizeof layers / sizeof *layers; i++)
		mount_once("tmpfs", layers[i], "tmpfs", MS_NODEV | MS_NOSUID);
	make_dirs("/var/lib/arcbox/jailer");
	mount_once("tmpfs", "/var/lib/arcbox/jailer", "tmpfs", MS_NOSUID);
	write_etc();
	make_dirs("/var/lib/docker");
	make_dirs("/var/run/docker");
	make_dirs("/run/containerd");
	mount_pseudo();
	fill_caches();
	set_up_network();
	forward_sandboxes();
	mount_share("users", "/Users", 0, NULL);
	mount_share("arcbox-dax", "/run/arcbox-dax", 0, "dax=always");
	if (mount_share("rosetta", "/media/rosetta", MS_RDONLY, NULL))
		note("failed: ", "a share that this does not use");
	note("done", "");
	/* In the reference, this program is the agent and continues here. */
	execve(stopwatch[0], stopwatch, environment);
	failed(stopwatch[0]);
	for (;;)
		pause();
}
