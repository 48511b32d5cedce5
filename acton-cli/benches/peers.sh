#!/usr/bin/env bash
# Installs what `cargo bench -p acton-cli --bench tunnel` compares acton with, as root: from
# Debian's packages, and VpnCloud from the crate registry. acton 0.1.1 the benchmark builds itself.
# A peer that cannot be had is named and left out, as the benchmark does.
set -euo pipefail

if ! command -v apt-get >/dev/null || ((EUID != 0)); then
    echo "not installed: this needs root on Debian or its kin" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# Their services would open tunnels of their own.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
apt-get update -q >/dev/null
# Besides the peers: what sets the underlay up, what makes OpenVPN's certificates, and what counts
# instructions.
for package in iproute2 ethtool openssl valgrind socat quicktun openvpn fastd tinc vtun n2n; do
    apt-get install -qy --no-install-recommends "$package" >/dev/null ||
        echo "not installed: $package" >&2
done
command -v vpncloud >/dev/null || cargo install --locked vpncloud ||
    echo "not installed: vpncloud" >&2
