/* rank 0: NUMA nodes: which there are, how far they are, and where memory comes from. */
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/keep_errno.h"
#include "os/os.h"
#include "os/read_file.h"

/* From linux/mempolicy.h, which not every system has. */
#define POLICY_PREFERRED 1
#define POLICY_MEMS_ALLOWED 4

/* The kernel wants a mask of at least as many bits as it was built for, 1024 at most. */
#define NODE_BITS 1024

uint64_t os_node_mask(void)
{
	unsigned long mask[NODE_BITS / (8 * sizeof(long))] = { 0 };

	if (KEEPING_ERRNO(syscall(SYS_get_mempolicy, NULL, mask, (unsigned long)NODE_BITS, NULL,
				  POLICY_MEMS_ALLOWED)) != 0)
		mask[0] = 1;
	return mask[0] ? mask[0] : 1;
}

/* Reads what the system says of the node; false when it has none of that number. */
static bool read_distances(unsigned node, char *text, size_t room)
{
	static const char before[] = "/sys/devices/system/node/node", after[] = "/distance";
	char path[sizeof(before) + sizeof(after) + 8];
	char *at = path;

	memcpy(at, before, sizeof(before) - 1);
	at += sizeof(before) - 1;
	if (node >= 10)
		*at++ = (char)('0' + node / 10);
	*at++ = (char)('0' + node % 10);
	memcpy(at, after, sizeof(after));
	return !read_file(path, text, room);
}

/* The number at *at, beyond which *at goes; 0 if there is none. */
static unsigned read_number(const char **at)
{
	unsigned value = 0;

	for (; **at >= '0' && **at <= '9'; ++*at)
		value = value * 10 + (unsigned)(**at - '0');
	return value;
}

/* The nodes there are, as in "0-3,5", bit i for node i; 0: the system does not say. */
static uint64_t online_nodes(void)
{
	char text[512];
	const char *at = text;
	uint64_t mask = 0;

	if (read_file("/sys/devices/system/node/online", text, sizeof(text)))
		return 0;
	while (*at >= '0' && *at <= '9') {
		unsigned n = read_number(&at), last = n;

		if (*at == '-') {
			at++;
			last = read_number(&at);
		}
		for (; n <= last && n < OS_NODES; n++)
			mask |= (uint64_t)1 << n;
		if (*at == ',')
			at++;
	}
	return mask;
}

void os_node_distances(unsigned from, unsigned distance[OS_NODES])
{
	char text[512];
	const char *at = text;
	uint64_t online = online_nodes();
	unsigned n;

	for (n = 0; n < OS_NODES; n++)
		distance[n] = n == from ? 10 : 20;
	if (!read_distances(from, text, sizeof(text)))
		return;
	/* One number for each node that is online, in their order: some may be missing. */
	for (; online && *at >= '0' && *at <= '9'; online &= online - 1) {
		distance[__builtin_ctzll(online)] = read_number(&at);
		if (*at == ' ')
			at++;
	}
}

unsigned os_node(void)
{
	unsigned node = 0;

	getcpu(NULL, &node);
	return node;
}

void os_prefer_node(void *addr, size_t len, unsigned node)
{
	unsigned long mask[NODE_BITS / (8 * sizeof(long))] = { 0 };

	mask[node / (8 * sizeof(long))] = 1ul << node % (8 * sizeof(long));
	/* Refused, the pages come from wherever the system takes them. */
	KEEPING_ERRNO(syscall(SYS_mbind, addr, len, POLICY_PREFERRED, mask,
			      (unsigned long)NODE_BITS, 0));
}
