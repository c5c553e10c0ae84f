/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Constants of the kernel. They are part of its user interface, or have been the same in all
 * supported kernels.
 */
#ifndef NETATOP_CONSTANTS_H
#define NETATOP_CONSTANTS_H

/* include/linux/sched.h: a task that is ending. */
enum { PF_EXITING = 0x4 };

/* include/uapi/linux/sched.h: the new task is a thread of the process that creates it. */
enum { CLONE_THREAD = 0x10000 };

/* include/net/sock.h: nothing more is received. */
enum { RCV_SHUTDOWN = 1 };

/* include/net/sock.h: the local port was chosen by bind(2), in sk_userlocks. */
enum { SOCK_BINDPORT_LOCK = 8 };

/* include/linux/socket.h, include/linux/net.h, include/uapi/linux/in.h */
enum {
	AF_INET = 2,
	AF_INET6 = 10,
	SOCK_STREAM = 1,
	SOCK_DGRAM = 2,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_MPTCP = 262,
	MSG_PEEK = 0x2,
	MSG_DONTWAIT = 0x40,
	MSG_ERRQUEUE = 0x2000,
};

/* include/uapi/linux/if_ether.h, in the protocol of a packet */
enum { ETH_P_IP = 0x0800 };

/* include/linux/ipv6.h: the packet came in on a member of a VRF. */
enum { IP6SKB_L3SLAVE = 64 };

/*
 * include/net/sock.h: no process has the socket any more; a TCP socket has received the other end's
 * FIN, in order.
 */
enum { SOCK_DEAD = 0, SOCK_DONE = 1 };

/* include/net/tcp_states.h. The tracepoint inet_sock_set_state promises these numbers. */
enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
};

/* include/uapi/asm-generic/errno.h */
enum { ENETUNREACH = 101, ETIMEDOUT = 110, ECONNREFUSED = 111, EHOSTUNREACH = 113 };

#endif
