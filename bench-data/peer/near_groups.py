"""How many vectors a row or a query meets by groups of centroids: index/src/model/groups/mod.rs."""

from math import isqrt

# Models of so many lists put rows in lists by groups.
MIN_ASSIGN_NLIST = 1 << 13
# Models of so many lists find the lists of a query by groups.
MIN_NLIST = 1 << 16


def met(nlist, nprobe=1):
    """Vectors, centres of groups included, and groups that are looked at."""
    groups = 2 * isqrt(nlist)
    effort = -(-isqrt(groups) * (6 + nprobe.bit_length() - 1) // 4)
    return groups + effort * nlist // groups, effort
