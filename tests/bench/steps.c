/* steps OUT PROGRAM [ARG...]: write the address of each instruction that PROGRAM, which is linked to a fixed
 * address, executes for the first time, in that order, one a line in hexadecimal.
 *
 * By single steps (ptrace(2)), of the program and all processes and threads that it makes, each until it
 * executes another program. Some hundred thousand steps take a minute.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT 0x2000000UL /* a program at a fixed address is below 32 MiB */

static unsigned char seen[LIMIT];

int main(int argc, char **argv)
{
	long follow = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	int status, alive = 1, started = 0;

	if (argc < 3) {
		fprintf(stderr, "usage: steps OUT PROGRAM [ARG...]\n");
		return 2;
	}
	pid_t first = fork(), pid;
	if (first == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execv(argv[2], argv + 2);
		_exit(127);
	}
	FILE *out = fopen(argv[1], "w");
	if (!out || first < 0) {
		perror(argv[1]);
		return 2;
	}
	while (alive > 0 && (pid = waitpid(-1, &status, __WALL)) > 0) {
		int signal = 0;
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (pid == first && status) {
				fprintf(stderr, "steps: ended with status %#x\n", status);
				return 1;
			}
			alive--;
			continue;
		}
		if (!started) {
			started = 1;
			ptrace(PTRACE_SETOPTIONS, pid, 0, follow);
		} else if (status >> 16 == PTRACE_EVENT_EXEC) {
			ptrace(PTRACE_DETACH, pid, 0, 0);
			alive--;
			continue;
		} else if (status >> 16) {
			alive++;
		} else if (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP) {
			signal = WSTOPSIG(status);
		}
		struct user_regs_struct registers;
		if (ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0 && registers.rip < LIMIT && !seen[registers.rip]) {
			seen[registers.rip] = 1;
			fprintf(out, "%llx\n", registers.rip);
		}
		ptrace(PTRACE_SINGLESTEP, pid, 0, signal);
	}
	return fclose(out) != 0;
}
