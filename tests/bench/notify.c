/* notify PROGRAM [ARG...]
 *
 * The least that asking a supervisor can cost: a filter has the kernel ask about the calls that coracle's
 * supervisor is asked about, and the answer is always "go on", given at once by a process that looks at nothing.
 * Same flags as coracle's, so that both sleep and wake alike. What is asked about by the value of an argument in
 * memory, or seldom, is left out. seccomp_unotify(2).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#define SYNC_WAKE_UP 1

#ifdef __x86_64__
#define ARCH AUDIT_ARCH_X86_64
#else
#define ARCH AUDIT_ARCH_AARCH64
#endif

static const unsigned asked[] = {
#ifdef SYS_stat
	SYS_stat, SYS_lstat, SYS_chown, SYS_lchown, SYS_creat, SYS_mkdir, SYS_mknod, SYS_symlink,
#endif
	SYS_newfstatat, SYS_fstat, SYS_statx, SYS_fchownat, SYS_fchown, SYS_mkdirat, SYS_mknodat, SYS_symlinkat,
	SYS_execve, SYS_execveat, SYS_bind, SYS_capget, SYS_capset,
	SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getresuid, SYS_getresgid, SYS_getgroups,
	SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setgroups,
	SYS_setxattr, SYS_lsetxattr, SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr, SYS_listxattr, SYS_llistxattr,
	SYS_flistxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
};
#define COUNT (sizeof asked / sizeof *asked)

static void die(const char *what)
{
	fprintf(stderr, "notify: %s: %s\n", what, strerror(errno));
	_exit(125);
}

static int install(void)
{
	struct sock_filter code[COUNT * 2 + 16], *at = code;
	/* What is asked about only with O_CREAT: number, offset of the flags. */
	const unsigned opens[][2] = {
#ifdef SYS_open
		{ SYS_open, offsetof(struct seccomp_data, args[1]) },
#endif
		{ SYS_openat, offsetof(struct seccomp_data, args[2]) },
	};

	*at++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
	*at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	*at++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < COUNT; i++) {
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, asked[i], 0, 1);
		*at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	}
	for (unsigned i = 0; i < sizeof opens / sizeof *opens; i++) {
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, opens[i][0], 0, 4);
		*at++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, opens[i][1]);
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_CREAT, 0, 1);
		*at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
		*at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	*at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { at - code, code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		die("no_new_privs");
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		       SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
}

static void wake(int signal)
{
	(void)signal;
}

int main(int argc, char **argv)
{
	int pipes[2], listener, status;

	if (argc < 2) {
		fprintf(stderr, "usage: notify PROGRAM [ARG...]\n");
		return 125;
	}
	/* Without SA_RESTART: the end of the program ends the wait for a call. */
	struct sigaction action = { .sa_handler = wake };
	sigaction(SIGCHLD, &action, 0);
	if (pipe(pipes))
		die("pipe");
	/* The descriptors are shared until the program is executed, and so the listener is ours, too. */
	pid_t pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		die("clone");
	if (pid == 0) {
		listener = install();
		if (write(pipes[1], &listener, sizeof listener) != sizeof listener || listener < 0)
			die("seccomp");
		close(pipes[1]);
		execvp(argv[1], argv + 1);
		die(argv[1]);
	}
	if (read(pipes[0], &listener, sizeof listener) != sizeof listener || listener < 0)
		die("no listener");
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP);
	for (;;) {
		struct seccomp_notif call = { 0 };
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0) {
			struct seccomp_notif_resp answer = { .id = call.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
			ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
			continue;
		}
		if (errno != EINTR && errno != ENOENT)
			die("receive");
		/* Only a process of the program that was killed, or the end of all. */
		if (waitpid(pid, &status, WNOHANG) == pid)
			break;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
