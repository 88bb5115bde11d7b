/* floor [-c] LOWER[:LOWER...] UPPER WORK PROGRAM [ARG...]
 *
 * The least that a container start can cost: new user, mount, pid, ipc, uts and net namespaces (-c: and
 * a cgroup namespace), a map of one id, an overlay with userxattr, a fresh /proc, pivot_root, exec.
 * No seccomp, no devices, no terminal, no store, no parsing: what any runtime adds is compared with this.
 * The upper and work directories are made before and emptied after, as a container's would be.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	_exit(125);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

int main(int argc, char **argv)
{
	unsigned long flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET;
	char options[65536], map[64], path[4096];
	int status;

	if (argc > 1 && !strcmp(argv[1], "-c")) {
		flags |= CLONE_NEWCGROUP;
		argv++, argc--;
	}
	if (argc < 5) {
		fprintf(stderr, "usage: floor [-c] LOWER[:LOWER...] UPPER WORK PROGRAM [ARG...]\n");
		return 125;
	}
	snprintf(options, sizeof options, "userxattr,lowerdir=%s,upperdir=%s,workdir=%s", argv[1], argv[2], argv[3]);
	uid_t uid = getuid();
	gid_t gid = getgid();
	if (mkdir(argv[2], 0755) || mkdir(argv[3], 0700))
		die("mkdir");

	pid_t pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		die("clone");
	if (pid == 0) {
		put("/proc/self/setgroups", "deny");
		snprintf(map, sizeof map, "0 %u 1", uid);
		put("/proc/self/uid_map", map);
		snprintf(map, sizeof map, "0 %u 1", gid);
		put("/proc/self/gid_map", map);
		if (mount(0, "/", 0, MS_REC | MS_PRIVATE, 0))
			die("make / private");
		if (mount("none", argv[2], "overlay", 0, options))
			die("overlay");
		snprintf(path, sizeof path, "%s/proc", argv[2]);
		if (mount("proc", path, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0))
			die("proc");
		if (chdir(argv[2]) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
			die("pivot_root");
		execv(argv[4], argv + 4);
		die(argv[4]);
	}
	if (waitpid(pid, &status, 0) < 0)
		die("waitpid");
	/* The work directory holds one of mode 000 that overlay made. */
	snprintf(path, sizeof path, "%s/work", argv[3]);
	if (rmdir(path) || rmdir(argv[3]) || rmdir(argv[2]))
		die("clean up");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
