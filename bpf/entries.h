/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Notes about unconnected UDP from programs at the entry and exit of kernel functions. They are
 * cheaper than the cgroup programs, need no CAP_NET_ADMIN, and also know the sender of a datagram
 * when nobody asks for it. Not every kernel allows them.
 *
 * All functions are inline: libbpf resolves the relocations of other functions at every start, also
 * if no program that is loaded calls them.
 */
#ifndef NETATOP_ENTRIES_H
#define NETATOP_ENTRIES_H

/*
 * Before udp_sendmsg() or udpv6_sendmsg(): leaves the address that the call names. A datagram to an
 * IPv4-mapped address passes both functions, and the second note has the IPv4 address.
 */
static __always_inline int leave_name(struct sock *sk, struct msghdr *msg)
{
	const struct sockaddr_in6 *six;
	const struct sockaddr_in *four;
	struct note *note;
	__u16 family;

	/*
	 * Further pieces of a datagram go where the first one does, whatever they name. A call
	 * without a name is for the connected socket.
	 */
	if (!msg->msg_name || bpf_core_cast(sk, struct udp_sock)->pending)
		return 0;
	four = bpf_core_cast(msg->msg_name, struct sockaddr_in);
	family = four->sin_family;
	if (family == AF_INET6) {
		six = bpf_core_cast(msg->msg_name, struct sockaddr_in6);
		note = new_note(sk, SEND, six->sin6_port);
		if (!note)
			return 0;
		note->address[0] = ((const __u64 *)&six->sin6_addr)[0];
		note->address[1] = ((const __u64 *)&six->sin6_addr)[1];
		note->scope = six->sin6_scope_id;
		return 0;
	}
	/* udp_sendmsg() takes an address without family (AF_UNSPEC) for an IPv4 address. */
	if (family != AF_INET && sk->__sk_common.skc_family != AF_INET)
		return 0;
	note = new_note(sk, SEND, four->sin_port);
	if (!note)
		return 0;
	note->address[0] = 0;
	note->address[1] = mapped(four->sin_addr.s_addr);
	return 0;
}

/*
 * The interface of a link-local sender, as inet6_iif() in include/linux/ipv6.h. The control buffer
 * of a datagram for UDP over IPv6 begins with struct inet6_skb_parm.
 */
static __always_inline __u32 interface_of(const struct sk_buff *skb)
{
	const struct inet6_skb_parm *parm = bpf_core_cast(&skb->cb, struct inet6_skb_parm);

	return parm->flags & IP6SKB_L3SLAVE ? skb->skb_iif : parm->iif;
}

/* After __skb_recv_udp(): leaves the sender of the datagram that was received. */
static __always_inline int leave_sender(struct sock *sk, const struct sk_buff *skb)
{
	const struct ipv6hdr *six;
	const struct udphdr *udp;
	const void *head;
	struct note *note;

	if (!skb)
		return 0;
	head = skb->head;
	udp = bpf_core_cast(head + skb->transport_header, struct udphdr);
	note = new_note(sk, RECV, udp->source);
	if (!note)
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		note->address[0] = 0;
		note->address[1] =
			mapped(bpf_core_cast(head + skb->network_header, struct iphdr)->saddr);
		return 0;
	}
	six = bpf_core_cast(head + skb->network_header, struct ipv6hdr);
	note->address[0] = ((const __u64 *)&six->saddr)[0];
	note->address[1] = ((const __u64 *)&six->saddr)[1];
	note->scope = interface_of(skb);
	return 0;
}

#endif
