#!/usr/bin/env bash
# Prints the path of the program acton 0.1.1: the example of the published crate, whose wire is
# plain mode. Builds it where it is absent, from the crate registry; that once needs the network.
#
# usage: acton-0.1.1.sh [--unoptimised] [TARGET-DIR]      default: CARGO_TARGET_DIR, else target
#
# Unoptimised, which is a program of its own, it takes half the processor time to build: for tests of
# what it says. All else is as published, so that it does not stop at an overflow, say.
set -euo pipefail

version=0.1.1
name=acton-$version
profile=()
if [[ ${1-} == --unoptimised ]]; then
    name+=-unoptimised
    profile=(CARGO_PROFILE_RELEASE_OPT_LEVEL=0)
    shift
fi
peers=$(realpath -m -- "${1:-${CARGO_TARGET_DIR:-target}}")/peers
root=$peers/$name

mkdir -p "$peers"
# One builds, the others wait for it.
exec 9>"$peers/$name.lock"
flock 9
if [[ ! -x $root/bin/acton ]]; then
    # Not --locked: rustc-serialize as it is locked there does not compile any more. The flags of
    # the build under test are not for the peer, nor is the lock for cargo to hold.
    env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS "${profile[@]}" \
        "${CARGO:-cargo}" install acton --version "=$version" --example acton \
        --root "$root" --target-dir "$peers/build-$name" >&2 9>&-
    rm -rf "$peers/build-$name"
fi
printf '%s\n' "$root/bin/acton"
