"""From which network a node speaks, as the platform itself sees it.

Two nodes of one network never answer the same chunk: they are likely one person's, whoever
owns them on paper. Only the prefix is kept, never the address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from django.conf import settings

from tasks.models import Node

#: What one household or office has: a /24 of IPv4, a /48 of IPv6.
IPV4_BITS: Final = 24
IPV6_BITS: Final = 48


def prefix(address: str, *, own: Iterable[str] = ()) -> str:
    """Return the network of a public address, "203.0.113.0/24"; "" of any other text. Pure.

    Private, loopback and shared addresses tell nothing: everybody has them. Nor do those in
    `own`, which are the platform's own balancers and gateways.
    """
    try:
        found = ipaddress.ip_address(address.strip().partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if not found.is_global or found.is_multicast:
        return ""
    if any(found in ipaddress.ip_network(each) for each in own):
        return ""
    bits = IPV4_BITS if found.version == 4 else IPV6_BITS
    return str(ipaddress.ip_network(f"{found}/{bits}", strict=False))


def note(*, node_id: str, address: str) -> bool:
    """Keep the network the node was just seen in; say whether it is another one than before.

    An address that tells nothing changes nothing: the last network known stays.
    """
    network = prefix(address, own=settings.OWN_NETWORKS)
    if not network:
        return False
    moved = Node.objects.filter(pk=node_id).exclude(network=network).update(network=network)
    return moved == 1
